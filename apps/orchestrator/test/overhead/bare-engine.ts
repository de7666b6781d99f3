// Repeats the steps of a recorded run on an engine that only trains. It asks the engine for nothing but the next steps, under the same
// teachers. A training without a history would change its teachers, too, so the time of such a change counts.
import type { ArtifactStore } from '#artifact-store';
import type { EngineClient } from '../../src/engines/wire/engine-client.js';
import { initialStateRequest, openingMs, sessionOptions, trainRequest } from '../../src/engines/wire/engine-requests.js';
import { endStepOf, lossesAt, phaseAt } from '../../src/pruning-run/method/phases.js';
import { stepTargets } from '../../src/pruning-run/method/sparsity-schedule.js';
import type { TeacherStretch } from '../../src/pruning-run/planning/segment-plan.js';
import { stretchesFrom } from '../../src/verification/replay/replay-plan.js';
import { secondsWithChanges } from './figures.js';
import type { RecordedRun } from './recorded-run.js';
import { stepTimesIn } from './watched-run.js';
import { tokenSources } from '../../src/pruning-run/record/training-tokens.js';

export class BareEngine {
  private readonly stepSeconds: number[] = [];
  /** The first steps of the calls. */
  private readonly calls = new Set<number>();
  /** The digest of the state after the last of them. */
  stateDigest = '';
  private sessionId = '';
  /** The teachers that the engine holds. */
  private teachers = new Set<string>();
  private readonly signal = new AbortController().signal;

  constructor(
    private readonly client: EngineClient,
    private readonly artifacts: ArtifactStore,
    private readonly recorded: RecordedRun,
    /** The file in which the engine notes the times of its steps. */
    private readonly stepTimes: string,
  ) {}

  /** The time of each step, with the change of teachers before it. */
  get seconds(): number[] {
    return secondsWithChanges(stepTimesIn(this.stepTimes), this.calls);
  }

  async open(threads: number): Promise<void> {
    const { run } = this.recorded;
    const { data } = run;
    this.sessionId = (await this.client.openSession(sessionOptions(run, threads), 'overhead', openingMs(run.model))).sessionId;
    await this.client.loadTrainingTokens(this.sessionId, tokenSources(data), this.artifacts);
    await this.client.initialiseState(initialStateRequest(this.sessionId, run));
  }

  get hasEnded(): boolean {
    return this.stepSeconds.length === endStepOf(this.recorded.run.settings);
  }

  /** Trains for about this time, in as few calls as can be known beforehand. */
  async trainFor(seconds: number): Promise<void> {
    for (let left = seconds; left > 0 && !this.hasEnded;) {
      const oneTakes = this.stepSeconds.slice(-20).reduce((sum, one, _, all) => sum + one / all.length, 0);
      const done = await this.train(oneTakes === 0 ? 1 : Math.ceil(left / oneTakes));
      left -= done;
    }
  }

  private async train(atMost: number): Promise<number> {
    const {
      run: { settings },
      stretches: recorded,
    } = this.recorded;
    const firstStep = this.stepSeconds.length;
    const wanted = Math.min(firstStep + atMost, phaseAt(settings, firstStep).endStep);
    const { stretches, endStep } = await this.withTeachers(stretchesFrom(firstStep, recorded), wanted);
    const plan = { firstStep, losses: lossesAt(settings, firstStep), stretches, ...stepTargets(settings, firstStep, endStep) };
    const trained = await this.client.trainSegment(trainRequest(this.sessionId, settings, plan, 'leave'), this.signal);
    const { outcome, steps: reports, teacherDigests } = trained;
    this.teachers = new Set(teacherDigests);
    const seconds = reports.map((report) => report.seconds);
    this.stepSeconds.push(...seconds);
    this.calls.add(firstStep);
    this.stateDigest = outcome.state.digest;
    return seconds.reduce((sum, one) => sum + one, 0);
  }

  /** The stretches before `endStep` whose teachers the engine can hold at once. The others are for the next call. */
  private async withTeachers(all: TeacherStretch[], endStep: number): Promise<{ stretches: TeacherStretch[]; endStep: number }> {
    const stretches: TeacherStretch[] = [];
    for (const stretch of all.filter(({ firstStep }) => firstStep < endStep)) {
      const { teacher } = stretch;
      if (teacher.kind === 'snapshot' && !this.teachers.has(teacher.stateDigest)) {
        const held = await this.client.loadTeacher(this.sessionId, teacher.stateDigest, {
          bytes: this.artifacts.open(teacher.stateDigest),
        });
        this.teachers = new Set(held);
      }
      if (stretches.some((one) => one.teacher.kind === 'snapshot' && !this.teachers.has(one.teacher.stateDigest)))
        return this.withTeachers(all, stretch.firstStep); // this teacher replaced an earlier one, so the call ends before it
      stretches.push(stretch);
    }
    return { stretches, endStep };
  }
}

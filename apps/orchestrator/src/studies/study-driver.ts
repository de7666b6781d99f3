// Launches the runs of studies, `at_once` at a time. The next launch follows from the recorded events, so a new process goes on where the
// last one ended. A run's request id follows from its study and its settings, so the same request launches only one run.
import { Inject, Injectable } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import type { Logger } from 'pino';
import { hasMissedTarget } from '#comparison';
import { EspalierError, statusOf, toEspalierError } from '#protocol';
import { status } from '@grpc/grpc-js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import { BY_SERVER } from '../event-sourcing/call-context.js';
import { headlineOf } from '../pruning-run/aggregate/headline.js';
import { isFinished, type RunStatus } from '../pruning-run/aggregate/pruning-run.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { LaunchRun } from '../run-commands/pruning-run.commands.js';
import { DriverLease } from '../storage/driver-lease.js';
import { LOGGER } from '../provider-names.js';
import { RunFeed } from '../feed/run-feed.js';
import { nameOfRun } from './study-names.js';
import { readingOf, requestIdOf, runIdOfStudy, studyTag } from './study-plan.js';
import { StudyRepository } from './study-repository.js';
import type { Heat } from './halving.js';
import type { RungResult } from './study.events.js';
import { openHeats, waitingRuns, type StudyRun, type StudyState } from './study.js';

const LOOK_AGAIN_MS = 5_000;
/** Refusals that waiting does not change. */
const FINAL = new Set([status.INVALID_ARGUMENT, status.NOT_FOUND, status.FAILED_PRECONDITION, status.DATA_LOSS, status.ALREADY_EXISTS]);

type Refusal = NonNullable<StudyRun['refusal']>;

interface Launched {
  run: StudyRun & { runId: string };
  status: RunStatus;
}

@Injectable()
export class StudyDriver {
  private readonly shutdown = new AbortController();
  /** The statuses of runs that the feed reported or that were looked up. */
  private readonly statuses = new Map<string, RunStatus>();
  private readonly waits = new Map<string, string>();
  private loop: Promise<void> = Promise.resolve();
  private wake: () => void = () => undefined;

  constructor(
    @Inject(StudyRepository) private readonly studies: StudyRepository,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(RunFeed) private readonly feed: RunFeed,
    @Inject(EnginePool) private readonly pool: EnginePool,
    @Inject(CommandBus) private readonly commands: CommandBus,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  start(): void {
    this.studies.onChange(() => this.wake());
    this.lease.onChange(() => this.wake());
    this.feed.onChange(({ runId, status }) => {
      if (this.statuses.get(runId) === status) return;
      this.statuses.set(runId, status);
      this.wake();
    });
    this.loop = this.drive();
  }

  async stop(): Promise<void> {
    this.shutdown.abort(new EspalierError('SHUTTING_DOWN', 'the orchestrator is stopping'));
    this.wake();
    await this.loop;
    await this.studies.stop();
  }

  /** The cause that keeps the study from launching its next run, or ''. */
  waitOf(studyId: string): string {
    return this.waits.get(studyId) ?? '';
  }

  private async drive(): Promise<void> {
    await Promise.race([this.studies.start(), aborted(this.shutdown.signal)]);
    while (!this.shutdown.signal.aborted) {
      const woken = new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      let again = false;
      if (this.lease.held) for (const study of this.studies.all()) again = !(await this.driveOn(study)) || again;
      const timer = again ? setTimeout(() => this.wake(), LOOK_AGAIN_MS) : undefined;
      await woken; // stop() wakes it, too
      clearTimeout(timer);
    }
  }

  /**
   * Does the next work of a study. Returns false if something is in the way; the study is then looked at again after a while. Never throws.
   */
  private async driveOn(study: StudyState): Promise<boolean> {
    if (study.endedAt !== null || this.shutdown.signal.aborted) return true;
    try {
      if (study.cancelled !== null) await this.cancelRuns(study, study.cancelled.reason);
      else await this.launchNext(study);
      this.waits.delete(study.studyId);
      return true;
    } catch (error) {
      if (this.shutdown.signal.aborted) return true;
      const { message } = toEspalierError(error);
      this.waits.set(study.studyId, message);
      this.log.warn({ err: error, studyId: study.studyId }, 'a study waits');
      return false;
    }
  }

  private async launchedOf({ runs }: Pick<StudyState, 'runs'>): Promise<Launched[]> {
    const launched: Launched[] = [];
    for (const run of runs) {
      const { runId } = run;
      if (runId !== null) launched.push({ run: { ...run, runId }, status: await this.statusOf(runId) });
    }
    return launched;
  }

  private async statusOf(runId: string): Promise<RunStatus> {
    if (this.feed.isDamaged(runId)) return 'failed';
    const known = this.statuses.get(runId);
    if (known !== undefined) return known;
    const { status } = await this.runs.load(runId);
    this.statuses.set(runId, status);
    return status;
  }

  private async launchNext(study: StudyState): Promise<void> {
    const launched = await this.launchedOf(study);
    // A run that a user paused, or that waits for a user to remove an obstacle, takes no engine.
    let underWay = launched.filter(({ status }) => !isFinished({ status }) && status !== 'paused').length;
    const most = study.atOnce === 0 ? Math.max(1, this.pool.most) : study.atOnce;
    const waiting = waitingRuns(study);
    const next = waiting.slice(0, Math.max(0, most - underWay));
    const mistakes = next.length > 0 ? await this.mistakesInTexts(launched) : new Map<string, Refusal>();
    for (const run of next) {
      const mistake = mistakes.get(readingOf(run));
      if (mistake !== undefined) {
        await this.studies.change(study.studyId, { kind: 'runRefused', key: run.key, ...mistake }, this.options());
        continue;
      }
      if (!(await this.launch(study, run, underWay > 0))) continue;
      underWay += 1;
    }
    if (waiting.length > 0) return;
    const heats = openHeats(study);
    for (const heat of heats) await this.decideOnceEnded(study, heat);
    if (heats.length === 0) await this.endOnceAllHave(study, launched);
  }

  /**
   * The mistakes that runs found in their texts before their first step, by reading (`readingOf`). Runs with the same reading are refused
   * with the same mistake, so that a study reports it once instead of launching each.
   */
  private async mistakesInTexts(launched: Launched[]): Promise<Map<string, Refusal>> {
    const mistakes = new Map<string, Refusal>();
    for (const { run, status } of launched) {
      if (status !== 'failed' || this.feed.isDamaged(run.runId)) continue;
      const reading = readingOf(run);
      if (mistakes.has(reading)) continue;
      const { failure, current } = await this.runs.load(run.runId);
      if (current !== null || failure?.field.startsWith('data.') !== true) continue;
      mistakes.set(reading, { ...failure, message: `run ${run.runId} failed of the same text: ${failure.message}` });
    }
    return mistakes;
  }

  /** Decides a rung once all its runs have ended. The results come from the runs' own events. */
  private async decideOnceEnded({ studyId, runs }: StudyState, { race, rung, runs: racing }: Heat): Promise<void> {
    const keys = new Set(racing.map(({ key }) => key));
    const results: RungResult[] = [];
    for (const { key, runId } of runs.filter((run) => keys.has(run.key))) {
      if (runId !== null && !isFinished({ status: await this.statusOf(runId) })) return;
      results.push({ key, ...(await this.resultOf(runId)) });
    }
    await this.studies.change(studyId, { kind: 'decideRung', race, rung, results }, this.options());
  }

  private async resultOf(runId: string | null): Promise<Omit<RungResult, 'key'>> {
    const run = runId === null || this.feed.isDamaged(runId) ? null : await this.runs.load(runId);
    if (run?.status !== 'completed' || run.current === null) return { perplexity: null, missedTarget: false };
    const { hardSparsity } = run.current;
    const missedTarget = hasMissedTarget({ completed: true, hardSparsity, targetSparsity: run.settings.targetSparsity });
    return { perplexity: headlineOf(run)?.value ?? null, missedTarget };
  }

  private async endOnceAllHave({ studyId }: StudyState, launched: Launched[]): Promise<void> {
    if (launched.some(({ status }) => !isFinished({ status }))) return;
    const runsCompleted = launched.filter(({ status }) => status === 'completed').length;
    await this.studies.change(studyId, { kind: 'end', runsCompleted }, this.options());
  }

  /** Launches a run. Returns whether it is under way now. @throws errors that may pass */
  private async launch({ studyId, name: studyName, launchContext }: StudyState, run: StudyRun, othersUnderWay: boolean): Promise<boolean> {
    const { key, variant, modelPath, data } = run;
    try {
      const runId = runIdOfStudy(studyId, key);
      // otherwise the run was launched just before a crash
      if ((await this.runs.find(runId)) === null) {
        const request = {
          requestId: requestIdOf(studyId, key),
          name: nameOfRun(studyName, variant, run.settings.seed),
          tags: [studyTag(studyId)],
          modelPath,
          data,
          settings: { evaluationTokens: 0, ...run.settings }, // a study compares runs of any length, so all measure the whole text
        };
        await this.commands.execute(new LaunchRun(request, launchContext ?? BY_SERVER, this.shutdown.signal));
      }
      await this.studies.change(studyId, { kind: 'runLaunched', key, runId }, this.options());
      return true;
    } catch (error) {
      const { code, message, field } = toEspalierError(error);
      // Other runs will give their memory back.
      if (!FINAL.has(statusOf(code)) && (code !== 'OUT_OF_MEMORY' || othersUnderWay)) throw error;
      await this.studies.change(studyId, { kind: 'runRefused', key, code, message, field }, this.options());
      return false;
    }
  }

  private async cancelRuns(study: StudyState, reason: string): Promise<void> {
    await this.findUnrecorded(study);
    const launched = await this.launchedOf((await this.studies.find(study.studyId)) ?? study);
    const because = reason === '' ? `study ${study.name} was cancelled` : reason;
    for (const { run, status } of launched) {
      if (isFinished({ status })) continue;
      try {
        await this.runs.change(run.runId, { kind: 'cancel', reason: because }, this.options());
      } catch (error) {
        if (!isFinished(await this.runs.load(run.runId))) throw error; // otherwise the run ended in the meantime
      }
      this.statuses.delete(run.runId);
    }
    await this.endOnceAllHave(study, await this.launchedOf({ runs: launched.map(({ run }) => run) }));
  }

  /** Records the launches of runs that were launched just before a crash. */
  private async findUnrecorded({ studyId, runs }: StudyState): Promise<void> {
    for (const { key, runId, refusal } of runs) {
      if (runId !== null || refusal !== null) continue;
      const id = runIdOfStudy(studyId, key);
      if ((await this.runs.find(id)) !== null) await this.studies.change(studyId, { kind: 'runLaunched', key, runId: id }, this.options());
    }
  }

  private options(): { by: typeof BY_SERVER; signal: AbortSignal } {
    return { by: BY_SERVER, signal: this.shutdown.signal };
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

// One attempt to bring a run to its end on one engine: claim it, bring the engine to its state, then train until the recorded
// facts say something else. The engine trains segment after segment; those it has ended are recorded meanwhile.
import { EspalierError, toEspalierError } from '#protocol';
import { decide, isFinished, stepOf, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { BY_SERVER } from '../event-sourcing/call-context.js';
import type { StepMeasurement } from '../pruning-run/record/steps-measured.js';
import type { RunChange } from '../pruning-run/aggregate/run-change.js';
import { expected } from '../pruning-run/run-repository.js';
import { planSegment, type SegmentPlan } from '../pruning-run/planning/segment-plan.js';
import type { TrainingPlan } from '../pruning-run/planning/training-plan.js';
import { attachEngine } from './attach-engine.js';
import { planWithTeachers } from './teachers-at-hand.js';
import { requireToStay, runToBeLoaded, type AttemptParts } from './attempt-parts.js';
import { damageOrThrow, wholeStateBefore, withTokens } from './damaged-artifacts.js';
import { isTransient } from '../engines/wire/engine-errors.js';
import { REPORT_INTERVAL_MS, UNWATCHED_REPORT_INTERVAL_MS } from '../engines/wire/engine-requests.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import { evaluate } from '../measurements/evaluations.js';
import { RecordingQueue } from './recording/recording-queue.js';
import { nextAction } from './run-reactions.js';
import type { TrainedSegment } from './recording/segment-recorder.js';
import { stepMeasurement, trainedSegment } from './recording/segment-report.js';
import { watchProgress, type StepWatchdog } from '../engines/step-watchdog.js';

export class RunAttempt {
  private readonly runId: string;
  private readonly number: number;
  /** Recorded. */
  private run: PruningRunState;
  /** The run as it will be when the segments trained so far have been recorded. */
  private ahead: PruningRunState;
  private readonly recordings: RecordingQueue;
  private bench: EngineWorkbench | undefined;
  private sendsTeachers = false; // those that the engine does not hold; else it reads them by itself
  private reachedStep: number | undefined; // by the engine's reports, recorded or not
  private evaluationError: { code: string; message: string } | null = null;
  /** Aborted when the attempt may no longer speak for the run. */
  private readonly dismissed = new AbortController();
  /** Aborted when the driver waits for the attempt to end: the attempt then stops waiting for room on a disk. */
  private readonly hurried = new AbortController();
  private readonly patience = AbortSignal.any([this.dismissed.signal, this.hurried.signal]);

  constructor(
    private readonly parts: AttemptParts,
    run: PruningRunState,
  ) {
    this.runId = run.runId;
    this.number = run.attempt + 1;
    this.run = this.ahead = run;
    this.recordings = new RecordingQueue(async (segments) => {
      this.advance(await parts.recorder.record(this.run, segments, this.patience));
      this.bench?.engine.client.stateRecorded(segments.at(-1)!.report.state.stateDigest);
    }, parts.recordIntervalMs);
  }

  async execute(): Promise<void> {
    const stopListening = this.parts.feed.onChange((run) => this.onChange(run));
    try {
      // The instance's name keeps two orchestrators from taking each other's claim for their own.
      await this.change({ kind: 'startAttempt', attempt: this.number }, `attempt ${this.number} ${this.parts.instance}`);
      this.bench = await this.parts.slot.workbench();
      this.parts.live.heard(this.runId, this.number);
      await this.attach(this.bench);
      await this.work(this.bench);
    } catch (error) {
      await this.end(error);
    } finally {
      stopListening();
      this.parts.live.ended(this.runId);
      await this.bench?.endStates();
    }
  }

  private async attach(bench: EngineWorkbench): Promise<void> {
    if (['pause', 'leave'].includes(this.next().kind)) return; // meanwhile
    const { parts, run, number } = this;
    await this.change(await attachEngine(parts, bench, run, number, (step, damage) => this.fallBack(step, damage), this.patience));
    parts.slot.promisedBytes = 0; // they are taken
  }

  private async work(bench: EngineWorkbench): Promise<void> {
    for (;;) {
      const action = this.next();
      if (action.kind !== 'train' || this.jobsWait) await this.settle();
      if (this.jobsWait) await this.parts.jobs.runAllAt(this.parts.slot, bench, () => true, runToBeLoaded(this.runId));
      switch (action.kind) {
        case 'train':
          requireToStay(this.parts.slot);
          await this.train(bench);
          break;
        case 'evaluate':
          await this.evaluateAtEnd(bench, action.subject);
          break;
        case 'complete':
          return this.change({ kind: 'complete', attempt: this.number, evaluationError: this.evaluationError });
        case 'giveUp':
          return this.change({ ...action, kind: 'fail', attempt: this.number });
        case 'pause':
          await this.change({ kind: 'confirmPause', by: action.by });
          break;
        case 'leave':
          return;
      }
    }
  }

  private get jobsWait(): boolean {
    return this.parts.jobs.waitingAt(this.parts.slot.name) > 0;
  }

  private next(): ReturnType<typeof nextAction> {
    return nextAction(this.ahead, this.number, this.parts.shutdown.aborted, this.evaluationError);
  }

  private async train(bench: EngineWorkbench): Promise<void> {
    const run = this.ahead;
    if (!bench.holds(run)) await this.settle(); // what is brought to the engine must be durable
    if (!(await this.bringState(bench, run))) return;
    const plan = await planWithTeachers(bench, run, {
      stored: () => (this.sendsTeachers ? [] : this.run.teachers),
      settle: () => this.settle(),
      bring: (step, teacher) => this.bringsWhole(step, () => bench.bringTeacher(teacher)),
    });
    if (plan === null) return;
    this.stopTraining = (finishSegment = false) =>
      void bench.engine.client.stopTraining(bench.sessionId, finishSegment).catch(() => undefined);
    const stopPacing = this.parts.live.onWatched(() => {
      bench.engine.client.setReportInterval(bench.sessionId, this.reportIntervalMs()).catch(() => undefined);
    });
    const watchdog = watchProgress(bench.engine);
    try {
      await this.follow(bench, plan, watchdog);
    } catch (error) {
      if (this.sendsTeachers || toEspalierError(error).code !== 'TEACHER_NOT_LOADED') throw error;
      this.parts.log.warn({ runId: this.runId, err: error }, 'the engine could not read a teacher: they are sent from here on');
      this.sendsTeachers = true; // reading the file to send it finds out what is wrong with it
      await this.settle();
    } finally {
      watchdog.rest();
      stopPacing();
      this.stopTraining = () => undefined;
    }
  }

  /** Takes what the engine tells while it trains. */
  private async follow(bench: EngineWorkbench, plan: TrainingPlan, watchdog: StepWatchdog): Promise<void> {
    let planned = this.nextSegment(plan);
    let steps: StepMeasurement[] = [];
    for await (const progress of bench.train(
      this.run,
      plan,
      this.reportIntervalMs(),
      AbortSignal.any([bench.engine.lost, this.dismissed.signal]),
    )) {
      watchdog.alive();
      if (progress.kind === 'steps') {
        const measured = progress.steps.map((one) => stepMeasurement(one, planned));
        for (const step of measured) steps.push(step);
        this.reachedStep = measured.at(-1)!.step + 1;
        this.parts.live.report(this.runId, this.number, measured);
      } else if (progress.kind === 'calibrated') {
        this.parts.slot.doing = `the calibration of run ${this.runId}, ${Math.floor(progress.share * 100)}% of it done`;
      } else if (progress.kind === 'segment') {
        const segment = trainedSegment(this.ahead, this.number, planned, steps, progress.segment);
        watchdog.rest(); // a store that is away is no sign of an engine that hangs
        await this.add(segment);
        watchdog.goOn();
        if (this.next().kind === 'giveUp') return; // what the engine did since then is not wanted
        steps = [];
        planned = this.nextSegment(plan);
      }
      // The request to stop may come before the engine has begun.
      if (progress.kind !== 'end' && (this.wantsStop() || this.jobsWait)) this.stopTraining(!this.wantsStop());
    }
  }

  private reportIntervalMs(): number {
    return this.parts.live.isWatched(this.runId) ? REPORT_INTERVAL_MS : UNWATCHED_REPORT_INTERVAL_MS;
  }

  private nextSegment({ teachersKept }: TrainingPlan): SegmentPlan {
    const planned = planSegment(this.ahead, teachersKept);
    this.parts.slot.doing = `the segment of run ${this.runId} that ends at step ${planned.endStep} at the latest`;
    return planned;
  }

  /** Plans go on from the state that is about to be recorded. No other reader sees it earlier. */
  private async add(segment: TrainedSegment): Promise<void> {
    const facts = decide(this.ahead, { ...segment.report, metricsRevision: 0, metricsDigest: '' }, new Date().toISOString());
    this.ahead = expected(this.ahead, facts)!;
    await this.recordings.add(segment);
  }

  /** False: a state was damaged, and the run now goes on from before it. */
  private async bringState(bench: EngineWorkbench, run: PruningRunState): Promise<boolean> {
    await bench.bringModel(run);
    await withTokens(this.parts, run, 'train', () => bench.bringTokens(run));
    return this.bringsWhole(stepOf(run), () => bench.bringState(run, run.current));
  }

  private async bringsWhole(step: number, bring: () => Promise<unknown>): Promise<boolean> {
    try {
      await bring();
      return true;
    } catch (error) {
      await this.fallBack(step, damageOrThrow(error));
      return false;
    }
  }

  private async fallBack(step: number, damage: EspalierError): Promise<PruningRunState> {
    await this.settle();
    const stateDigest = await wholeStateBefore(this.parts.artifacts, this.run, step, damage);
    this.parts.log.error(
      { runId: this.runId, code: damage.code, step, stateDigest },
      `a state is damaged, going on from before it: ${damage.message}`,
    );
    await this.change({ kind: 'fallBack', attempt: this.number, stateDigest });
    return this.run;
  }

  /** Everything trained so far is recorded, and nothing is planned ahead. */
  private async settle(): Promise<void> {
    await this.recordings.drain();
    this.ahead = this.run;
  }

  private async evaluateAtEnd(bench: EngineWorkbench, subject: 'intact' | 'masked'): Promise<void> {
    const { run, parts } = this;
    parts.slot.doing = `the evaluation at the end of run ${this.runId}`;
    const what = subject === 'intact' ? ({ kind: subject } as const) : ({ kind: subject, state: run.current!, teacherMark: null } as const);
    const request = {
      run,
      subject: what,
      window: run.settings.evaluationWindow,
      dataDigest: run.data.validationDigest!,
    };
    try {
      const signal = AbortSignal.any([bench.engine.lost, this.dismissed.signal, parts.shutdown]);
      await bench.bringModel(run);
      if (subject === 'masked' && !(await this.bringsWhole(stepOf(run), () => bench.bringState(run, run.current)))) return;
      await this.change(
        await withTokens(parts, run, 'validation', () => evaluate(bench, parts.artifacts, request, () => undefined, signal)),
      );
    } catch (error) {
      const known = toEspalierError(error);
      if (parts.shutdown.aborted || this.dismissed.signal.aborted || isTransient(known)) throw error;
      this.evaluationError = { code: known.code, message: known.message };
    }
  }

  private async change(change: RunChange, key?: string): Promise<void> {
    const { runs, live, log } = this.parts;
    const onWait = (error: Error): void => {
      live.waits(error, this.runId);
      log.warn({ runId: this.runId, err: error }, 'waiting for the event store');
    };
    const options = { by: BY_SERVER, patienceMs: Infinity, signal: this.patience, onWait, ...(key === undefined ? {} : { key }) };
    this.advance((await runs.change(this.runId, change, options)).run);
    live.goesOn(this.runId);
    this.ahead = this.run;
  }

  /** The feed may have been quicker. */
  private advance(run: PruningRunState): void {
    if (run.revision > this.run.revision) this.run = run;
  }

  private stopTraining: (finishSegment?: boolean) => void = () => undefined;
  private wantsStop(): boolean {
    return this.run.pauseRequested || this.parts.shutdown.aborted;
  }

  /** A command changed the run. */
  private onChange(run: PruningRunState): void {
    if (run.runId !== this.runId || run.revision <= this.run.revision) return;
    const mine = !isFinished(run) && (run.attempt < this.number || (run.attempt === this.number && run.attemptOpen));
    this.run = run;
    this.ahead = {
      ...this.ahead,
      pauseRequested: run.pauseRequested,
      ...(mine ? {} : { status: run.status, attempt: run.attempt, attemptOpen: run.attemptOpen }),
    };
    if (!mine) this.dismissed.abort(new EspalierError('ATTEMPT_STALE', `run ${this.runId} is ${run.status} now`));
    else if (this.wantsStop()) this.stop();
  }

  /** At a pause or a shutdown: the engine ends at its next step boundary. */
  stop(): void {
    this.hurried.abort();
    this.stopTraining();
  }

  /** Called when other work needs the engine: the attempt ends with its segment. */
  makeRoom(): void {
    this.stopTraining(true);
  }

  /** Records why the attempt is over. */
  private async end(error: unknown): Promise<void> {
    const { parts } = this;
    await this.recordings.drain().catch(() => undefined); // what the engine finished before counts
    const known = toEspalierError(error);
    if (known.code === 'ATTEMPT_STALE' || this.dismissed.signal.aborted) return;
    parts.log.warn({ runId: this.runId, attempt: this.number, code: known.code, err: error }, 'the attempt ended');
    try {
      if (parts.shutdown.aborted || this.run.pauseRequested) {
        await this.change({ kind: 'confirmPause', by: parts.shutdown.aborted ? 'shutdown' : 'request' });
        return;
      }
      const { code, message, field } = known;
      const failed = { attempt: this.number, code, message };
      if (isTransient(known)) await this.change({ ...failed, kind: 'recordEngineLoss', cause: 'engine', reachedStep: this.reachedStep });
      else await this.change({ ...failed, kind: 'fail', field });
    } catch (failure) {
      if (!(failure instanceof EspalierError && failure.code === 'ATTEMPT_STALE')) throw failure;
    }
  }
}

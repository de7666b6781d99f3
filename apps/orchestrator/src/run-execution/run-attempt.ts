// One attempt to bring a run to its end on one engine. It claims the run, gives the engine the run's state, then trains until the recorded
// facts say something else. The engine trains one segment after another, and the attempt records the finished ones meanwhile.
import { EspalierError, toEspalierError } from '#protocol';
import { decide, isFinished, stepOf, waitsForSteps, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { BY_SERVER } from '../event-sourcing/call-context.js';
import { firstTokensOf } from '../pruning-run/record/measures.js';
import type { StepMeasurement } from '../pruning-run/record/steps-measured.js';
import type { RunChange } from '../pruning-run/aggregate/pruning-run.decisions.js';
import { expected } from '../pruning-run/run-repository.js';
import { planSegment, type SegmentPlan } from '../pruning-run/planning/segment-plan.js';
import type { TrainingPlan } from '../pruning-run/planning/training-plan.js';
import { attachEngine } from './attach-engine.js';
import { chooseSteps } from './choose-steps.js';
import { planWithTeachers } from './teachers-at-hand.js';
import { requireToStay, runToBeLoaded, type AttemptParts } from './attempt-parts.js';
import { damageOrThrow, requireDamage, wholeStateBefore, withTokens } from './damaged-artifacts.js';
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
  private readonly beganMs = performance.now();
  /** The run as it is recorded. */
  private run: PruningRunState;
  /** The run as it will be when the segments trained so far are recorded. */
  private ahead: PruningRunState;
  private readonly recordings: RecordingQueue;
  private bench: EngineWorkbench | undefined;
  private sendsTeachers = false; // whether to send missing teachers; otherwise the engine reads them by itself
  private reachedStep: number | undefined; // by the engine's reports, recorded or not
  private evaluationError: { code: string; message: string } | null = null;
  /** The error for which the engine was lost, or null. */
  failure: EspalierError | null = null;
  private readonly firstStep: number;
  /** Aborts when another attempt or a command has taken the run from this one. */
  private readonly dismissed = new AbortController();
  /** Aborts when the driver waits for the attempt to end. The attempt then no longer waits for space on a disk. */
  private readonly hurried = new AbortController();
  private readonly patience = AbortSignal.any([this.dismissed.signal, this.hurried.signal]);

  constructor(
    private readonly parts: AttemptParts,
    run: PruningRunState,
  ) {
    this.runId = run.runId;
    this.number = run.attempt + 1;
    this.run = this.ahead = run;
    this.firstStep = stepOf(run);
    this.recordings = new RecordingQueue(
      async (segments) => this.advance(await parts.recorder.record(this.run, segments, this.patience, parts.checkState)),
      parts.recordIntervalMs,
    );
  }

  /** Whether the attempt recorded steps. */
  get gotOn(): boolean {
    return stepOf(this.run) > this.firstStep;
  }

  async execute(): Promise<void> {
    const stopListening = this.parts.feed.onChange((run) => this.onChange(run));
    try {
      // The instance's name makes the claims of two orchestrators differ, so neither takes the other's claim for its own.
      await this.change({ kind: 'startAttempt', attempt: this.number }, `attempt ${this.number} ${this.parts.instance}`);
      const bench = (this.bench = await this.parts.slot.workbench());
      this.parts.live.heard(this.runId, this.number);
      // An engine that is cut off for less than its lease goes on with the same attempt.
      await bench.engine.client.onceBack(() => this.attach(bench), this.patience);
      await bench.engine.client.onceBack(() => this.work(bench), this.patience);
    } catch (error) {
      await this.end(error);
    } finally {
      stopListening();
      this.parts.live.ended(this.runId);
      await this.bench?.endStates();
    }
  }

  private async attach(bench: EngineWorkbench): Promise<void> {
    const isLeft = (): boolean => ['pause', 'leave'].includes(this.next().kind);
    if (isLeft()) return; // a command came while the engine started
    if (waitsForSteps(this.run))
      await this.change(await chooseSteps(this.parts, bench, this.run, { number: this.number, beganMs: this.beganMs }, this.patience));
    if (isLeft()) return;
    const { parts, run, number } = this;
    await this.change(await attachEngine(parts, bench, run, number, (step, damage) => this.fallBack(step, damage), this.patience));
    parts.slot.promisedBytes = 0; // the run has taken them
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
    if (!bench.holds(run)) await this.settle(); // a state must be durable before it is sent to the engine
    if (!(await this.bringState(bench, run))) return;
    const plan = await planWithTeachers(bench, run, {
      stored: () => (this.sendsTeachers ? [] : this.run.teachers),
      settle: () => this.settle(),
      bring: (step, teacher) => this.bringsWhole(step, () => bench.bringTeacher(teacher)),
    });
    if (plan === null) return;
    let isStopped = false;
    this.stopTraining = (finishSegment = false) => {
      isStopped = true;
      void bench.engine.client.stopTraining(bench.sessionId, finishSegment).catch(() => undefined);
    };
    const stopPacing = this.parts.live.onWatched(() => {
      bench.engine.client.setReportInterval(bench.sessionId, this.reportIntervalMs()).catch(() => undefined);
    });
    const watchdog = watchProgress(bench.engine);
    try {
      const segments = await this.follow(bench, plan, watchdog);
      // The same call would follow, and none would come to an end.
      if (segments === 0 && !isStopped) throw new EspalierError('ENGINE_FAILED', 'the engine ended a training without a segment');
    } catch (error) {
      if (this.sendsTeachers || toEspalierError(error).code !== 'TEACHER_NOT_LOADED') throw error;
      this.parts.log.warn({ runId: this.runId, err: error }, 'the engine could not read a teacher: they are sent from here on');
      this.sendsTeachers = true; // reading the file to send it finds the problem with it
      await this.settle();
    } finally {
      watchdog.rest();
      stopPacing();
      this.stopTraining = () => undefined;
    }
  }

  /** Lets the engine train, and records its segments from its reports. Returns their number. */
  private async follow(bench: EngineWorkbench, plan: TrainingPlan, watchdog: StepWatchdog): Promise<number> {
    let planned = this.nextSegment(plan);
    let segments = 0;
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
        watchdog.rest(); // an event store that is away does not mean that the engine hangs
        await this.add(segment);
        watchdog.goOn();
        segments += 1;
        if (this.next().kind === 'giveUp') return segments; // the engine's later work is not wanted
        steps = [];
        planned = this.nextSegment(plan);
      }
      // A request to stop may have come before the engine began, so it is repeated here.
      if (progress.kind !== 'end' && (this.wantsStop() || this.jobsWait)) this.stopTraining(!this.wantsStop());
    }
    return segments;
  }

  private reportIntervalMs(): number {
    return this.parts.live.isWatched(this.runId) ? REPORT_INTERVAL_MS : UNWATCHED_REPORT_INTERVAL_MS;
  }

  private nextSegment({ teachersKept }: TrainingPlan): SegmentPlan {
    const planned = planSegment(this.ahead, teachersKept);
    this.parts.slot.doing = `the segment of run ${this.runId} that ends at step ${planned.endStep} at the latest`;
    return planned;
  }

  /** Adds a segment that waits to be recorded. Plans go on from it at once. The record decides again, since a command may come first. */
  private async add(segment: TrainedSegment): Promise<void> {
    const facts = decide(this.ahead, { ...segment.report, metricsRevision: 0, metricsDigest: '' }, new Date().toISOString());
    this.ahead = expected(this.ahead, facts)!;
    await this.recordings.add(segment);
  }

  /** Returns false if a state was damaged; the run then goes on from before it. */
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
    await requireDamage(this.parts, this.run, step, damage);
    const stateDigest = await wholeStateBefore(this.parts.artifacts, this.run, step, damage);
    this.parts.log.error(
      { runId: this.runId, code: damage.code, step, stateDigest },
      `a state is damaged, going on from before it: ${damage.message}`,
    );
    await this.change({ kind: 'fallBack', attempt: this.number, stateDigest });
    return this.run;
  }

  /** Waits until everything trained so far is recorded. */
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
      firstTokens: firstTokensOf(run),
      dataDigest: run.data.validationDigest!,
    };
    const watchdog = watchProgress(bench.engine);
    try {
      const signal = AbortSignal.any([bench.engine.lost, this.dismissed.signal, parts.shutdown]);
      await bench.bringModel(run);
      if (subject === 'masked' && !(await this.bringsWhole(stepOf(run), () => bench.bringState(run, run.current)))) return;
      await this.change(
        await withTokens(parts, run, 'validation', () => evaluate(bench, parts.artifacts, request, () => watchdog.alive(), signal)),
      );
    } catch (error) {
      const known = toEspalierError(error);
      if (parts.shutdown.aborted || this.dismissed.signal.aborted || isTransient(known) || !parts.endsRun()) throw error;
      this.evaluationError = { code: known.code, message: known.message };
    } finally {
      watchdog.rest();
    }
  }

  private async change(change: RunChange, key?: string): Promise<void> {
    const { runs, live, log } = this.parts;
    const onWait = (error: Error): void => {
      live.waits(error, this.runId);
      log.warn({ runId: this.runId, err: error }, 'waiting for the event store');
    };
    const options = { by: BY_SERVER, retryForMs: Infinity, signal: this.patience, onWait, ...(key === undefined ? {} : { key }) };
    this.advance((await runs.change(this.runId, change, options)).run);
    live.goesOn(this.runId);
    this.ahead = this.run;
  }

  /** Takes the run as it is after a change, unless the feed brought a newer one already. */
  private advance(run: PruningRunState): void {
    if (run.revision > this.run.revision) this.run = run;
  }

  private stopTraining: (finishSegment?: boolean) => void = () => undefined;
  private wantsStop(): boolean {
    return this.run.pauseRequested || this.parts.shutdown.aborted;
  }

  /** Reacts to a change of the run, such as a command. */
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

  /** Stops the engine at its next step boundary. Called at a pause or a shutdown. */
  stop(): void {
    this.hurried.abort();
    this.stopTraining();
  }

  /** Ends the attempt's work with the present segment. Called when other work needs the engine. */
  makeRoom(): void {
    this.stopTraining(true);
  }

  /** Records why the attempt is over. */
  private async end(error: unknown): Promise<void> {
    const { parts } = this;
    await this.recordings.drain().catch(() => undefined); // segments that the engine finished before count
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
      if (isTransient(known) || !parts.endsRun()) {
        this.failure = known;
        await this.change({ ...failed, kind: 'recordEngineLoss', cause: 'engine', reachedStep: this.reachedStep });
      } else await this.change({ ...failed, kind: 'fail', field });
    } catch (failure) {
      if (!(failure instanceof EspalierError && failure.code === 'ATTEMPT_STALE')) throw failure;
    }
  }
}

// The loop that drives the runs. The record decides which run is next, and the pool decides on which engine. An attempt trains the run as
// far as it gets, and records that. Attempts run side by side. The driver remembers nothing that the event store does not know, so a new
// process goes on where this one ended.
import { Inject, Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { ArtifactStore } from '#artifact-store';
import { EspalierError } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { isTransient } from '../engines/wire/engine-errors.js';
import { EngineJobs } from '../engine-pool/engine-jobs.js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import type { EngineSlot } from '../engine-pool/engine-slot.js';
import type { Placement } from '../engine-pool/placement.js';
import { DriverLease } from '../storage/driver-lease.js';
import { isPrepared, isRunnable, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { ModelAndData } from '../run-inputs/model-and-data.js';
import { BY_SERVER } from '../event-sourcing/call-context.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { ARTIFACT_STORE, LOGGER, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { LiveProgress } from '../live/live-progress.js';
import { runToBeLoaded, type AttemptParts } from './attempt-parts.js';
import { delay } from './delay.js';
import { CallerHours } from '../hours/caller-hours.js';
import { callerOf } from '../hours/turns.js';
import { EngineTrust } from './engine-trust.js';
import { queueWords } from './queue-words.js';
import { RunAttempt } from './run-attempt.js';
import { RunFeed } from '../feed/run-feed.js';
import { RunPreparation } from './run-preparation.js';
import { SegmentRecorder } from './recording/segment-recorder.js';
import { StateCheck } from './recording/state-check.js';
import { StateKeeper } from '../retention/state-keeper.js';

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10_000;
/** How often in milliseconds the driver looks whether a waiting run now suits a free engine (its memory, its numerics). */
const LOOK_AGAIN_MS = 5_000;

/**
 * After a round the driver rests for this many times as long as the round took. Each event of each run wakes it, so that with a thousand
 * engines it would do nothing else.
 */
const RESTS_FOR_ROUNDS = 4;
/** A round may be long because an engine answered late, so there is a longest rest. */
const LONGEST_REST_MS = 500;
/** A round that took less is followed at once by the next. */
const SHORT_ROUND_MS = 5;

/** The longest time to wait for the feed where it is behind the record of a run. */
const FEED_BEHIND_MS = 1_000;

interface RunAtWork {
  slot: EngineSlot;
  /** Null while the attempt is about to begin. */
  attempt: RunAttempt | null;
  number: number;
  caller: string;
}

@Injectable()
export class RunDriver {
  private readonly shutdown = new AbortController();
  private readonly instance = randomUUID();
  private readonly atWork = new Map<string, RunAtWork>();
  private readonly works = new Set<Promise<void>>();
  /** The runs that are reported as waiting for a suitable engine or for the artifact store. */
  private readonly keptWaiting = new Set<string>();
  private readonly trust: EngineTrust;
  /** The clock by which restarts are due. A test may have one on which waiting takes no time. */
  clock = {
    now: (): number => Date.now(),
    wakeAfter: (ms: number, wake: () => void): NodeJS.Timeout => setTimeout(wake, ms),
  };
  private loop: Promise<void> = Promise.resolve();
  /** Whether this process held the lease at the last look. */
  private drives = false;
  private wake: () => void = () => undefined;

  constructor(
    @Inject(RunFeed) private readonly feed: RunFeed,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(ModelAndData) private readonly modelAndData: ModelAndData,
    @Inject(EnginePool) private readonly pool: EnginePool,
    @Inject(SegmentRecorder) private readonly recorder: SegmentRecorder,
    @Inject(StateKeeper) private readonly keeper: StateKeeper,
    @Inject(EngineJobs) private readonly jobs: EngineJobs,
    @Inject(LiveProgress) private readonly live: LiveProgress,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(RunPreparation) private readonly preparation: RunPreparation,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(CallerHours) private readonly hours: Pick<CallerHours, 'start' | 'inTurn' | 'usedUp'>,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'recordIntervalMs'>,
    @Inject(LOGGER) private readonly log: Logger,
  ) {
    this.trust = new EngineTrust(pool);
  }

  /** Returns when the record so far is known. The loop goes on by itself. */
  async start(): Promise<void> {
    await this.feed.start();
    this.hours.start();
    this.keeper.start();
    await this.lease.start();
    if (this.lease.held) await this.takeOver();
    this.lease.onChange(() => this.leaseChanged());
    this.feed.onChange(() => this.wake());
    this.jobs.onAdded(() => this.wake());
    this.pool.onChange(() => this.wake());
    this.artifacts.reach?.onChange(() => this.wake());
    this.pool.onHeartbeat((slot) => this.onHeartbeat(slot));
    this.preparation.start(this.shutdown.signal);
    this.loop = this.drive();
  }

  /** Ends the running segments at their next step boundary and records them. Ends the jobs, whose clients ask again later. */
  async stop(): Promise<void> {
    const reason = new EspalierError('SHUTTING_DOWN', 'the orchestrator is stopping');
    this.shutdown.abort(reason);
    this.jobs.stop(reason);
    for (const { attempt } of this.atWork.values()) attempt?.stop();
    this.wake();
    await this.loop;
    await Promise.all(this.works);
    await this.preparation.stopped();
    this.keeper.stop();
    await this.pool.stop();
    await this.feed.stop();
  }

  private async drive(): Promise<void> {
    this.drives = this.lease.held;
    for (let retryMs = FIRST_RETRY_MS; !this.shutdown.signal.aborted;) {
      try {
        await this.driveOn();
        if (retryMs > FIRST_RETRY_MS) this.live.goesOn();
        retryMs = FIRST_RETRY_MS;
      } catch (error) {
        // The driver must survive any error, because no other process drives the runs.
        this.log.error({ err: error }, 'the driver of the runs met an error and tries again');
        this.live.waits(error);
        await delay(retryMs, this.shutdown.signal);
        retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS);
      }
    }
  }

  /** Hands out the waiting work, then waits for a change. */
  private async driveOn(): Promise<void> {
    const woken = new Promise<void>((resolve) => {
      this.wake = resolve;
    });
    if (this.lease.held && !this.drives) await this.takeOver();
    this.drives = this.lease.held;
    if (!this.drives) {
      this.live.queue(new Map());
      await this.pool.letGoAll();
      return woken;
    }
    const beganMs = performance.now();
    const ready = this.feed.unfinished().filter((run) => this.isReady(run));
    const usedUp = this.hours.usedUp(ready);
    const waiting = this.hours.inTurn(
      ready.filter((run) => !usedUp.has(callerOf(run))),
      this.runsAtWork(),
    );
    const placement = await this.pool.place(waiting, this.jobs.waiting, (runId) => this.trust.refusalsOf(runId));
    if (this.shutdown.signal.aborted) return;
    this.giveJobs(placement);
    const outOfReach = this.artifacts.reach?.problem ?? null; // no attempt could even begin
    const nextRestartMs = outOfReach === null ? this.giveRuns(placement, new Map(waiting.map((run) => [run.runId, run]))) : Infinity;
    const held = ready.flatMap((run) => (usedUp.has(callerOf(run)) ? [{ runId: run.runId, why: usedUp.get(callerOf(run))! }] : []));
    const waits: { runId: string; why: Error }[] =
      outOfReach === null
        ? placement.waits.map(({ runId, why }) => ({ runId, why: new EspalierError('ENGINE_UNAVAILABLE', why) }))
        : waiting.map(({ runId }) => ({ runId, why: outOfReach }));
    this.publishQueue(waiting.filter(({ runId }) => !this.atWork.has(runId)));
    waits.push(...held);
    this.publishWaits(waits);
    const lookAgainMs = Math.min(nextRestartMs, waits.length > 0 ? LOOK_AGAIN_MS : Infinity);
    const endedMs = performance.now();
    const timer = lookAgainMs === Infinity ? undefined : this.clock.wakeAfter(lookAgainMs, () => this.wake());
    await woken;
    clearTimeout(timer);
    const tookMs = endedMs - beganMs;
    if (tookMs <= SHORT_ROUND_MS) return;
    await delay(endedMs + Math.min(RESTS_FOR_ROUNDS * tookMs, LONGEST_REST_MS) - performance.now(), this.shutdown.signal);
  }

  /** The number of runs of each caller that have an engine. */
  private runsAtWork(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { caller } of this.atWork.values()) counts.set(caller, (counts.get(caller) ?? 0) + 1);
    return counts;
  }

  private isReady(run: PruningRunState): boolean {
    const { runId } = run;
    return isRunnable(run) && isPrepared(run) && !this.atWork.has(runId) && !this.feed.isDamaged(runId); // the last one asks the views
  }

  private giveJobs({ jobs }: Placement): void {
    for (const { id, slot: name, atOnce } of jobs) {
      const slot = this.pool.slot(name);
      const job = this.jobs.waiting.find((one) => one.id === id);
      if (job === undefined || slot === undefined) continue; // the job's client or the engine has gone
      this.jobs.assign(id, slot);
      if (!atOnce) for (const { slot: at, attempt } of this.atWork.values()) if (at === slot) attempt?.makeRoom();
      if (atOnce && !slot.isTaken) this.begin(this.doJobs(slot, job.runId));
    }
  }

  /** Gives runs to their slots. Returns the milliseconds until the next run may restart; its slot is kept for it until then. */
  private giveRuns({ runs }: Placement, waiting: ReadonlyMap<string, PruningRunState>): number {
    let nextMs = Infinity;
    for (const { runId, slot: name, neededBytes } of runs) {
      const run = waiting.get(runId)!;
      const waitMs = this.restartsInMs(run);
      const slot = this.pool.slot(name);
      if (slot === undefined) continue; // the slot has just left; that change wakes the driver
      if (waitMs > 0) nextMs = Math.min(nextMs, waitMs);
      else if (!slot.isTaken) this.begin(this.train(run, slot, neededBytes));
    }
    return nextMs;
  }

  /** @param queued the runs that got no slot, in the order of their turn */
  private publishQueue(queued: readonly PruningRunState[]): void {
    const busy = this.pool.slots.flatMap(({ name, runId, isTaken }) =>
      isTaken && runId !== null && runId !== '' ? [{ name, runId }] : [],
    );
    this.live.queue(new Map(queued.map(({ runId }, before) => [runId, queueWords(busy, before)])));
  }

  private publishWaits(waits: { runId: string; why: Error }[]): void {
    for (const runId of this.keptWaiting) {
      if (waits.some((one) => one.runId === runId)) continue;
      this.keptWaiting.delete(runId);
      if (!this.atWork.has(runId)) this.live.goesOn(runId);
    }
    for (const { runId, why } of waits) {
      this.keptWaiting.add(runId);
      this.live.waits(why, runId);
    }
  }

  private begin(work: Promise<void>): void {
    const ended = work.finally(() => {
      this.works.delete(ended);
      this.wake();
    });
    this.works.add(ended);
  }

  /** Reacts to a gained, lost or renewed lease. While another driver renews it, the engines of that driver's attempts count as alive. */
  private leaseChanged(): void {
    this.wake();
    if (this.lease.held) return;
    this.jobs.refuseAll(this.lease.standby());
    for (const run of this.feed.unfinished()) if (run.attemptOpen && !this.atWork.has(run.runId)) this.live.heard(run.runId, run.attempt);
  }

  private async train(run: PruningRunState, slot: EngineSlot, neededBytes: number): Promise<void> {
    const { runId } = run;
    slot.occupy({ doing: runToBeLoaded(runId), runId }, neededBytes);
    const work: RunAtWork = { slot, attempt: null, number: run.attempt + 1, caller: callerOf(run) };
    this.atWork.set(runId, work);
    try {
      const known = await this.runs.load(runId).catch(() => run); // the feed may be behind
      if (!isRunnable(known) || !isPrepared(known) || this.feed.isDamaged(runId) || (!known.attemptOpen && this.restartsInMs(known) > 0)) {
        await Promise.race([this.feed.seen(runId, known.revision), delay(FEED_BEHIND_MS, this.shutdown.signal)]);
        return;
      }
      if (known.attemptOpen) {
        await this.closeAttempt(known, 'ATTEMPT_UNRECORDED', 'the end of the attempt could not be recorded');
        return;
      }
      if (this.shutdown.signal.aborted) return;
      this.live.goesOn(runId);
      const checks = new StateCheck(this.pool, this.artifacts);
      const check: Partial<AttemptParts> = slot.isNamed ? { checkState: (of, segment) => checks.require(of, segment) } : {};
      work.attempt = new RunAttempt({ ...this.parts(), ...check, slot, endsRun: () => this.trust.endsRun(runId, slot) }, known);
      work.number = known.attempt + 1;
      await work.attempt.execute();
      this.learn(runId, slot, work.attempt);
    } catch (error) {
      this.log.error({ err: error, runId }, 'an attempt could not be recorded');
      this.live.waits(error, runId);
      await delay(1_000, this.shutdown.signal);
    } finally {
      this.atWork.delete(runId);
      slot.leave();
    }
  }

  private learn(runId: string, slot: EngineSlot, { failure, gotOn }: RunAttempt): void {
    if (failure === null || gotOn) this.trust.forget(runId);
    if (failure !== null && !isTransient(failure)) this.trust.refused(runId, slot, failure);
    this.trust.ended(slot, { failure, gotOn });
  }

  private async doJobs(slot: EngineSlot, runId: string): Promise<void> {
    slot.occupy({ doing: 'a job to begin', runId });
    try {
      await this.jobs.runAllAt(slot, await slot.workbench(), () => this.feed.unfinished().some((run) => this.isReady(run)));
    } catch (error) {
      this.jobs.refuseAt(slot.name, error);
    } finally {
      slot.leave();
    }
  }

  private onHeartbeat(slot: EngineSlot): void {
    for (const [runId, { slot: at, number }] of this.atWork)
      if (at === slot && this.live.heardAt(runId) !== null) this.live.heard(runId, number);
  }

  private parts() {
    return {
      runs: this.runs,
      feed: this.feed,
      artifacts: this.artifacts,
      modelAndData: this.modelAndData,
      recorder: this.recorder,
      live: this.live,
      jobs: this.jobs,
      log: this.log,
      instance: this.instance,
      recordIntervalMs: this.config.recordIntervalMs,
      shutdown: this.shutdown.signal,
    };
  }

  /** Takes over from a driver that is gone. */
  private async takeOver(): Promise<void> {
    this.pool.claimAll();
    await this.closeFormerAttempts();
    await this.keeper.recallForUnfinished();
    void this.keeper.sweep(); // it reads the whole history first, so it goes on beside the work
  }

  /** Closes the attempts of a former process. The process died, and its engines with it. */
  private async closeFormerAttempts(): Promise<void> {
    for (const run of this.feed.unfinished().filter(({ attemptOpen, runId }) => attemptOpen && !this.atWork.has(runId))) {
      try {
        await this.closeAttempt(run, 'ORCHESTRATOR_RESTARTED', 'the orchestrator that had the attempt under way is gone');
      } catch (error) {
        // A store that can't write at the moment must not keep the orchestrator from starting. The loop tries again.
        this.log.error({ err: error, runId: run.runId }, 'the end of a former attempt could not be recorded');
      }
    }
  }

  /** The time until the run may restart, by its record; at most 0 where it may now. */
  private restartsInMs({ restartNotBefore }: PruningRunState): number {
    return restartNotBefore === null ? 0 : Date.parse(restartNotBefore) - this.clock.now();
  }

  private async closeAttempt({ runId, attempt }: PruningRunState, code: string, message: string): Promise<void> {
    await this.runs.change(runId, { kind: 'recordEngineLoss', attempt, cause: 'orchestrator', code, message }, { by: BY_SERVER });
  }
}

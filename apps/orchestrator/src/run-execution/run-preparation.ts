// Reads the model and the texts of launched runs, so that the driver can train them (docs/design/preparing.md). It remembers nothing that
// the event store does not know. A new process begins again, and finds the text that was tokenized before.
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import { EspalierError, toEspalierError } from '#protocol';
import { EnginePool } from '../engine-pool/engine-pool.js';
import { DriverLease } from '../storage/driver-lease.js';
import { ModelAndData } from '../run-inputs/model-and-data.js';
import { isFinished, isPrepared, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { ATTEMPTS_WITHOUT_PROGRESS_MAX, restartDelayMs } from '../pruning-run/aggregate/restart-policy.js';
import { BY_SERVER } from '../event-sourcing/call-context.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { LOGGER } from '../provider-names.js';
import { isTransient } from '../engines/wire/engine-errors.js';
import { LiveProgress } from '../live/live-progress.js';
import { RunFeed } from '../feed/run-feed.js';
import { delay } from './delay.js';

/** How many runs are prepared at once. Each takes several cores for a while, and a small text should not wait for a large one. */
const AT_ONCE = 2;
/** The milliseconds to wait after the end of a preparation could not be recorded. */
const AFTER_FAILURE_MS = 1_000;
/** Errors that pass when a user frees disk space or a bucket answers again. The preparation waits for that as long as it takes. */
const ARTIFACT_STORE_CODE = /^ARTIFACT_STORE_/;
/** How often a preparation that waits for an engine looks whether there is one. */
const LOOK_MS = 500;

/** The end of a try: nothing is left to do, or it failed, or it lacked something that the preparation waits for. */
type AttemptOutcome = 'over' | 'failed' | 'lacksStore' | 'lacksEngine';

@Injectable()
export class RunPreparation {
  private readonly underWay = new Map<string, AbortController>();
  private readonly ends = new Set<Promise<void>>();
  private shutdown: AbortSignal = AbortSignal.abort();

  constructor(
    @Inject(RunFeed) private readonly feed: RunFeed,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(ModelAndData) private readonly sources: ModelAndData,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(EnginePool) private readonly pool: Pick<EnginePool, 'isForsaken'>,
    @Inject(LiveProgress) private readonly live: LiveProgress,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  /** Starts the preparations. Call it when the record so far is known. They go on until the signal aborts. */
  start(shutdown: AbortSignal): void {
    this.shutdown = shutdown;
    this.feed.onChange((run) => this.onChange(run));
    this.lease.onChange(() => this.look());
    shutdown.addEventListener('abort', () => this.stopAll(), { once: true });
    this.look();
  }

  /** Resolves when no preparation is under way any more. */
  async stopped(): Promise<void> {
    await Promise.all(this.ends);
  }

  private onChange(run: PruningRunState): void {
    if (!isWanted(run)) this.underWay.get(run.runId)?.abort(new EspalierError('CANCELLED', `run ${run.runId} is ${run.status} now`));
    this.look();
  }

  private stopAll(): void {
    for (const stop of this.underWay.values()) stop.abort(this.shutdown.reason);
  }

  /** Starts the waiting preparations. */
  private look(): void {
    if (this.shutdown.aborted) return;
    if (!this.lease.held) return this.stopAll();
    const waiting = this.feed
      .unfinished()
      .filter((run) => isWanted(run) && !this.underWay.has(run.runId) && !this.feed.isDamaged(run.runId))
      .sort((left, right) => (left.launchedAt < right.launchedAt ? -1 : 1));
    for (const run of waiting) {
      if (this.underWay.size >= AT_ONCE) {
        this.live.prepares(run.runId, { doing: 'waiting for other runs to be prepared', doneShare: 0 });
        continue;
      }
      const stop = new AbortController();
      this.underWay.set(run.runId, stop);
      const end = this.bring(run, stop.signal).finally(() => {
        this.underWay.delete(run.runId);
        this.ends.delete(end);
        this.live.endPreparation(run.runId);
        this.look();
      });
      this.ends.add(end);
    }
  }

  private async bring(run: PruningRunState, signal: AbortSignal): Promise<void> {
    try {
      let [failures, waits] = [0, 0];
      for (let tried: AttemptOutcome; (tried = await this.try(run, failures, signal)) !== 'over';) {
        if (tried === 'failed') failures += 1;
        if (tried === 'lacksEngine') while (this.pool.isForsaken && !signal.aborted) await delay(LOOK_MS, signal);
        else await delay(restartDelayMs(waits++), signal);
        signal.throwIfAborted();
        this.live.goesOn(run.runId);
      }
    } catch (error) {
      if (signal.aborted) return;
      this.log.error({ err: error, runId: run.runId }, 'the end of a preparation could not be recorded');
      await delay(AFTER_FAILURE_MS, signal);
    } finally {
      this.live.goesOn(run.runId);
    }
  }

  /** @param failures the number of tries that failed before */
  private async try(run: PruningRunState, failures: number, signal: AbortSignal): Promise<AttemptOutcome> {
    const { runId } = run;
    const onWait = (error: Error): void => this.log.warn({ runId, err: error }, 'waiting for the event store');
    const endless = { by: BY_SERVER, retryForMs: Infinity, signal, onWait };
    try {
      const beganMs = performance.now();
      const prepared = await this.sources.prepare(run, (progress) => this.live.prepares(runId, progress), signal);
      signal.throwIfAborted();
      const { run: after } = await this.runs.change(
        runId,
        { kind: 'prepare', ...prepared, seconds: (performance.now() - beganMs) / 1_000 },
        endless,
      );
      await this.feed.seen(runId, after.revision);
      return 'over';
    } catch (error) {
      signal.throwIfAborted();
      const known = toEspalierError(error);
      this.log.warn({ runId, failures, code: known.code, err: error }, 'a run could not be prepared');
      const passes = isTransient(known) || ARTIFACT_STORE_CODE.test(known.code);
      const tried = ARTIFACT_STORE_CODE.test(known.code) ? 'lacksStore' : this.pool.isForsaken ? 'lacksEngine' : 'failed';
      if (passes && (tried !== 'failed' || failures + 1 < ATTEMPTS_WITHOUT_PROGRESS_MAX)) {
        this.live.waits(known, runId);
        return tried;
      }
      const { code, message, field } = known;
      const { run: after } = await this.runs.change(runId, { kind: 'failPreparation', code, message, field, passes }, endless);
      await this.feed.seen(runId, after.revision);
      return 'over';
    }
  }
}

function isWanted(run: PruningRunState): boolean {
  return !isPrepared(run) && !isFinished(run) && run.status !== 'paused';
}

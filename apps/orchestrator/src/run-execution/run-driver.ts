// The loop that makes runs happen: what is recorded says whose turn it is; an attempt brings that run as far as it gets, and
// records it. Nothing is remembered here that the event store does not know, so a new process goes on where this one died.
import { Inject, Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { ArtifactStore } from '#artifact-store';
import { EspalierError } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { DriverLease } from '../storage/driver-lease.js';
import { isPrepared, isRunnable, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { ModelAndData } from '../run-commands/model-and-data.js';
import { BY_SERVER } from '../pruning-run/record/call-context.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { ARTIFACT_STORE, LOGGER, ORCHESTRATOR_CONFIG } from '../tokens.js';
import type { AttemptParts } from './attempt-parts.js';
import { EngineJobs } from '../engines/engine-jobs.js';
import { EngineSupervisor } from '../engines/engine-supervisor.js';
import { EngineWorkbench } from '../engines/engine-workbench.js';
import { LiveProgress } from '../views/live-progress.js';
import { RunAttempt } from './run-attempt.js';
import { RunFeed } from '../views/run-feed.js';
import { RunPreparation } from './run-preparation.js';
import { nextInTurn } from './run-reactions.js';
import { SegmentRecorder } from './recording/segment-recorder.js';
import { StateKeeper } from '../retention/state-keeper.js';

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10_000;

@Injectable()
export class RunDriver {
  private readonly shutdown = new AbortController();
  private readonly instance = randomUUID();
  private bench: EngineWorkbench | null = null;
  private attempt: RunAttempt | null = null;
  private loop: Promise<void> = Promise.resolve();
  /** It was ours when we last looked. */
  private drives = false;
  private wake: () => void = () => undefined;

  constructor(
    @Inject(RunFeed) private readonly feed: RunFeed,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(ModelAndData) private readonly modelAndData: ModelAndData,
    @Inject(EngineSupervisor) private readonly supervisor: EngineSupervisor,
    @Inject(SegmentRecorder) private readonly recorder: SegmentRecorder,
    @Inject(StateKeeper) private readonly keeper: StateKeeper,
    @Inject(EngineJobs) private readonly jobs: EngineJobs,
    @Inject(LiveProgress) private readonly live: LiveProgress,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(RunPreparation) private readonly preparation: RunPreparation,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: OrchestratorConfig,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  /** Returns when what was recorded before is known; the rest happens by itself. */
  async start(): Promise<void> {
    await this.feed.start();
    this.keeper.start();
    await this.lease.start();
    if (this.lease.held) await this.takeOver();
    this.lease.onChange(() => this.leaseChanged());
    this.feed.onChange(() => this.wake());
    this.jobs.onAdded(() => {
      this.wake();
      this.attempt?.makeRoom();
    });
    this.supervisor.onHeartbeat(() => this.beat());
    this.preparation.start(this.shutdown.signal);
    this.loop = this.drive();
  }

  /** Ends the segment at work at its next step boundary and records it. */
  async stop(): Promise<void> {
    this.shutdown.abort(new EspalierError('SHUTTING_DOWN', 'the orchestrator is stopping'));
    this.attempt?.stop();
    this.wake();
    await this.loop;
    await this.preparation.stopped();
    this.jobs.refuseAll(this.shutdown.signal.reason);
    await this.supervisor.stop();
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
        // Whatever it was: nobody else drives the runs.
        this.log.error({ err: error }, 'the driver of the runs met an error and tries again');
        this.live.waits(error);
        await delay(retryMs, this.shutdown.signal);
        retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS);
      }
    }
  }

  /** One piece of work, or a wait for some. */
  private async driveOn(): Promise<void> {
    const woken = new Promise<void>((resolve) => {
      this.wake = resolve;
    });
    if (this.lease.held && !this.drives) await this.takeOver();
    this.drives = this.lease.held;
    if (!this.drives) return woken;
    const run = nextInTurn(this.feed.unfinished().filter((one) => isRunnable(one) && isPrepared(one) && !this.feed.isDamaged(one.runId)));
    const waitMs = run?.restartNotBefore ? Date.parse(run.restartNotBefore) - Date.now() : 0;
    if (run !== null && waitMs <= 0) await this.try(run);
    else if (this.jobs.pending) await this.runJobs();
    else await Promise.race([woken, ...(run === null ? [] : [delay(waitMs, this.shutdown.signal)])]);
  }

  /** Another driver's renewal is a sign of life of the engines that it looks after. */
  private leaseChanged(): void {
    this.wake();
    if (this.lease.held) return;
    this.jobs.refuseAll(this.lease.standby());
    for (const run of this.feed.unfinished())
      if (run.attemptOpen && run.runId !== this.current?.runId) this.live.heard(run.runId, run.attempt);
  }

  private async try(run: PruningRunState): Promise<void> {
    const known = await this.runs.load(run.runId).catch(() => run); // the feed may be behind
    if (!isRunnable(known) || !isPrepared(known) || this.feed.isDamaged(run.runId)) return delay(20, this.shutdown.signal);
    try {
      if (known.attemptOpen) {
        await this.closeAttempt(known, 'ATTEMPT_UNRECORDED', 'the end of the attempt could not be recorded');
        return;
      }
      this.attempt = new RunAttempt(this.parts(), known);
      this.current = known;
      await this.attempt.execute();
    } catch (error) {
      this.log.error({ err: error, runId: run.runId }, 'an attempt could not be recorded');
      this.live.waits(error, run.runId);
      await delay(1_000, this.shutdown.signal);
    } finally {
      this.attempt = null;
      this.current = null;
    }
  }

  private current: PruningRunState | null = null;

  private beat(): void {
    if (this.current !== null && this.live.heardAt(this.current.runId) !== null)
      this.live.heard(this.current.runId, this.current.attempt + 1);
  }

  private async runJobs(): Promise<void> {
    try {
      await this.jobs.runAll(await this.workbench());
    } catch (error) {
      this.jobs.refuseAll(error);
    }
  }

  private async workbench(): Promise<EngineWorkbench> {
    const engine = await this.supervisor.acquire();
    if (this.bench?.engine !== engine) this.bench = new EngineWorkbench(engine, this.artifacts);
    return this.bench;
  }

  private parts(): AttemptParts {
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
      threads: this.config.threads,
      recordIntervalMs: this.config.recordIntervalMs,
      shutdown: this.shutdown.signal,
      workbench: () => this.workbench(),
    };
  }

  /** The driver before us is gone. */
  private async takeOver(): Promise<void> {
    await this.closeFormerAttempts();
    await this.keeper.clearLeftOvers();
  }

  /** Attempts of a former process: it died, and its engine with it. */
  private async closeFormerAttempts(): Promise<void> {
    for (const run of this.feed.unfinished().filter(({ attemptOpen }) => attemptOpen)) {
      try {
        await this.closeAttempt(run, 'ORCHESTRATOR_RESTARTED', 'the orchestrator that had the attempt under way is gone');
      } catch (error) {
        // A store that can't write now must not keep the orchestrator from starting; the loop tries again.
        this.log.error({ err: error, runId: run.runId }, 'the end of a former attempt could not be recorded');
      }
    }
  }

  private async closeAttempt({ runId, attempt }: PruningRunState, code: string, message: string): Promise<void> {
    await this.runs.change(runId, { kind: 'recordEngineLoss', attempt, cause: 'orchestrator', code, message }, { by: BY_SERVER });
  }
}

function delay(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}

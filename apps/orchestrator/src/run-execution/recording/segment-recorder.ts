// Turns trained segments into recorded facts, in the one order that no crash can spoil. First the states' bytes become durable, then the
// metrics of the steps, then the events that name both. A crash in between leaves only bytes that no event names.
import { Inject, Injectable } from '@nestjs/common';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { ArtifactStoreError, type ArtifactStore } from '#artifact-store';
import { STEPS_MEASURED_VERSION } from '#audit';
import type { EventStore } from '#event-store';
import { EspalierError } from '#protocol';
import { sha256Hex } from '../../event-sourcing/canonical-json.js';
import { eventId } from '../../event-sourcing/event-ids.js';
import { BY_SERVER } from '../../event-sourcing/call-context.js';
import { ownMeasurements } from '../../pruning-run/record/own-events.js';
import type { SegmentMasks, StepMeasurement, StepsMeasured } from '../../pruning-run/record/steps-measured.js';
import type { PruningRunState } from '../../pruning-run/aggregate/pruning-run.js';
import type { RecordSegment } from '../../pruning-run/aggregate/engine-decisions.js';
import { withRetries, type RetryOptions } from '../../event-sourcing/store-retries.js';
import { RunRepository } from '../../pruning-run/run-repository.js';
import { encodeStepsMeasured, metricsStream } from '../../pruning-run/record/stored-event.js';
import { Tallies } from '../../monitoring/tallies.js';
import { ARTIFACT_STORE, EVENT_STORE, LOGGER } from '../../provider-names.js';
import type { EndedSegment } from '../../engines/wire/engine-client.js';
import type { StateToFetch } from '../../engines/wire/training-progress.js';
import { LiveProgress } from '../../live/live-progress.js';
import { StateKeeper } from '../../retention/state-keeper.js';

/** The waits in milliseconds between tries to store a state. A user may make room on a full disk. */
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 5_000;

export interface TrainedSegment {
  /** The report, complete except for the place of its metrics. */
  report: Omit<RecordSegment, 'metricsRevision' | 'metricsDigest'>;
  steps: StepMeasurement[];
  masks: SegmentMasks;
  state: NonNullable<EndedSegment['state']>;
}

@Injectable()
export class SegmentRecorder {
  constructor(
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(EVENT_STORE) private readonly store: EventStore,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(StateKeeper) private readonly keeper: StateKeeper,
    @Inject(LiveProgress) private readonly live: LiveProgress,
    @Inject(Tallies) private readonly tallies: Tallies,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  /**
   * Records one or more consecutive segments. If a state can't be stored, the segments before it are still recorded. The recorder waits for
   * an event store that is away and for full disks as long as it takes.
   * @param patience aborts when the caller no longer waits
   * @param check called with each segment whose state is stored; a segment that it refuses is not recorded, and neither are those after it
   * @throws ArtifactStoreError, EspalierError ATTEMPT_STALE
   */
  async record(
    run: PruningRunState,
    segments: TrainedSegment[],
    patience: AbortSignal,
    check: (run: PruningRunState, segment: TrainedSegment) => Promise<void> = () => Promise.resolve(),
  ): Promise<PruningRunState> {
    const digests = segments.map(({ report }) => report.state.stateDigest);
    for (const digest of digests) await this.keeper.pin(digest);
    let recorded: PruningRunState | null = null;
    try {
      const store = async (segment: TrainedSegment): Promise<void> => {
        await this.storeState(run.runId, segment, patience);
        await check(run, segment);
      };
      const stored = await Promise.allSettled(segments.map(store));
      const failure = stored.find(({ status }) => status === 'rejected') as PromiseRejectedResult | undefined;
      const whole = failure === undefined ? segments : segments.slice(0, stored.indexOf(failure));
      const onWait = (error: Error): void => this.waits(run.runId, error);
      if (whole.length > 0) {
        recorded = await this.append(run, whole, { retryForMs: Infinity, signal: patience, onWait });
        this.live.goesOn(run.runId);
        this.live.recorded(run.runId, recorded.current?.step ?? 0);
        for (const { report } of whole) {
          this.tallies.recordedSteps.inc(report.state.step - report.firstStep);
          this.tallies.recordedTokens.inc(report.tokens);
        }
      }
      if (failure !== undefined) throw failure.reason;
      return recorded!;
    } finally {
      for (const digest of digests) {
        if (recorded === null) this.keeper.release(digest);
        else this.keeper.releaseAfter(digest, run.runId, recorded.revision);
      }
    }
  }

  private async append({ runId, branch }: PruningRunState, segments: TrainedSegment[], patience: RetryOptions): Promise<PruningRunState> {
    const at = new Date().toISOString();
    const metrics = segments.map(({ report: { attempt, firstStep }, steps, masks }) => {
      const measured: StepsMeasured = { v: STEPS_MEASURED_VERSION, at, attempt, branch, masks, steps };
      const event = encodeStepsMeasured(measured, eventId(runId, 'metrics', branch, attempt, firstStep));
      ownMeasurements.remember(event, measured);
      return event;
    });
    const { revision } = await withRetries(() => this.store.append(metricsStream(runId), metrics, 'any'), patience);
    const firstRevision = Number(revision) - (metrics.length - 1);
    const changes = segments.map(({ report }, index) => {
      const change: RecordSegment = { ...report, metricsRevision: firstRevision + index, metricsDigest: sha256Hex(metrics[index]!.data) };
      return { key: `segment ${branch} ${report.attempt} ${report.firstStep}`, change };
    });
    return (await this.runs.changeInTurn(runId, changes, { ...patience, by: BY_SERVER })).run;
  }

  private async storeOnce(state: Uint8Array | { file: string } | StateToFetch, digest: string): Promise<void> {
    if (state instanceof Uint8Array) await this.artifacts.put(state, { expectedDigest: digest });
    else if ('file' in state) await this.artifacts.adopt(state.file, digest);
    else {
      await this.artifacts.put(state.sent(), { expectedDigest: digest, slices: state.slices });
      state.release();
    }
  }

  private waits(runId: string, error: Error): void {
    this.live.waits(error, runId);
    this.log.warn({ runId, err: error }, `what was trained can't be recorded yet: ${error.message}`);
  }

  private async storeState(runId: string, { report, state: whole }: TrainedSegment, patience: AbortSignal): Promise<void> {
    const state = 'arrival' in whole ? await whole.arrival : whole;
    if (state === 'stored') return;
    for (let delayMs = FIRST_RETRY_MS; ; delayMs = Math.min(2 * delayMs, LONGEST_RETRY_MS)) {
      try {
        await this.storeOnce(state, report.state.stateDigest);
        return;
      } catch (error) {
        if (!(error instanceof ArtifactStoreError)) throw error;
        if (error.code === 'ARTIFACT_CORRUPT') throw 'file' in state || isOfDisk(error) ? error : contradicted(error);
        if ('file' in state && isGone(state.file)) throw new EspalierError('ENGINE_LOST', `${state.file} is gone`);
        this.waits(runId, error);
        await sleep(delayMs, undefined, { signal: patience }).catch(() => {
          throw error;
        });
      }
    }
  }
}

/** An error of the disk has a cause; a digest that differs has none. */
const isOfDisk = ({ cause }: ArtifactStoreError): boolean => cause !== undefined;

/** The engine that sent the bytes is at fault, so the run goes on at another one. */
const contradicted = (cause: ArtifactStoreError): EspalierError =>
  new EspalierError('RESULT_CONTRADICTS_STATE', `the engine sent another state than it announced: ${cause.message}`, { cause });

/** Tells whether the file is gone for good: its folder still exists, so no disk is merely away. */
function isGone(file: string): boolean {
  return !existsSync(file) && existsSync(dirname(file));
}

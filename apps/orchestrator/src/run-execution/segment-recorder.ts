// Makes a trained segment a recorded fact, in the one order that a crash can't spoil: the state's bytes are durable first,
// then the per-step metrics, then the events that name both. A crash in between leaves bytes that nobody names.
import { Inject, Injectable } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { ArtifactStoreError, type ArtifactStore } from '#artifact-store';
import type { EventStore } from '#event-store';
import { sha256Hex } from '../pruning-run/canonical-json.js';
import { eventId } from '../pruning-run/event-ids.js';
import type { StepMeasurement } from '../pruning-run/pruning-run.events.js';
import type { PruningRunState } from '../pruning-run/pruning-run.js';
import type { RecordSegment } from '../pruning-run/run-change.js';
import { patiently, RunRepository } from '../pruning-run/run-repository.js';
import { encodeStepsMeasured, metricsStream } from '../pruning-run/stored-event.js';
import { CURRENT_VERSION } from '../pruning-run/event-versions.js';
import { ARTIFACT_STORE, EVENT_STORE, LOGGER } from '../tokens.js';
import type { SegmentResult } from './engine-client.js';
import { LiveProgress } from './live-progress.js';
import { StateKeeper } from './state-keeper.js';

/** Waits between tries to store a state: a disk that fills up may be emptied. After the last one the run fails. */
const STORE_RETRIES_MS = [500, 1_000, 2_000, 5_000, 10_000];

export interface TrainedSegment {
  /** Complete but for where its metrics will lie. */
  report: Omit<RecordSegment, 'metricsRevision' | 'metricsDigest'>;
  steps: StepMeasurement[];
  /** On its way from the engine. */
  state: SegmentResult['state'];
}

@Injectable()
export class SegmentRecorder {
  constructor(
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(EVENT_STORE) private readonly store: EventStore,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(StateKeeper) private readonly keeper: StateKeeper,
    @Inject(LiveProgress) private readonly live: LiveProgress,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  /** Waits for an event store that is away as long as it takes. @throws ArtifactStoreError, EspalierError ATTEMPT_STALE */
  async record(run: PruningRunState, segment: TrainedSegment, signal: AbortSignal): Promise<PruningRunState> {
    const { report } = segment;
    const { stateDigest } = report.state;
    await this.keeper.pin(stateDigest);
    let recorded: PruningRunState | null = null;
    try {
      await this.storeState(segment, signal);
      const onWait = (error: Error): void => this.log.warn({ runId: run.runId, err: error }, 'waiting for the event store');
      const patience = { patienceMs: Infinity, signal, onWait };
      const metrics = encodeStepsMeasured(
        { v: CURRENT_VERSION, at: new Date().toISOString(), attempt: report.attempt, branch: run.branch, steps: segment.steps },
        eventId(run.runId, 'metrics', run.branch, report.attempt, report.firstStep));
      const { revision } = await patiently(() => this.store.append(metricsStream(run.runId), [metrics], 'any'), patience);
      const change: RecordSegment = { ...report, metricsRevision: Number(revision), metricsDigest: sha256Hex(metrics.data) };
      const key = `segment ${run.branch} ${report.attempt} ${report.firstStep}`;
      recorded = (await this.runs.change(run.runId, change, { key, ...patience })).run;
      this.live.recorded(run.runId, report.state.step);
      return recorded;
    } finally {
      if (recorded === null) this.keeper.release(stateDigest);
      else this.keeper.releaseAfter(stateDigest, run.runId, recorded.revision);
    }
  }

  private async storeState({ report, state }: TrainedSegment, signal: AbortSignal): Promise<void> {
    const arrived = await state;
    for (let attempt = 0; ; attempt += 1) {
      try {
        if (arrived instanceof Uint8Array) await this.artifacts.put(arrived, { expectedDigest: report.state.stateDigest });
        else await this.artifacts.adopt!(arrived.file, report.state.stateDigest);
        return;
      } catch (error) {
        const delayMs = STORE_RETRIES_MS[attempt];
        if (!(error instanceof ArtifactStoreError) || error.code === 'ARTIFACT_CORRUPT' || delayMs === undefined) throw error;
        this.log.warn({ code: error.code, delayMs }, `a state could not be stored: ${error.message}`);
        await sleep(delayMs, undefined, { signal });
      }
    }
  }
}

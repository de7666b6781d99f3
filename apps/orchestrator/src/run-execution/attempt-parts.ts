import type { Logger } from 'pino';
import type { ArtifactStore } from '#artifact-store';
import { EspalierError } from '#protocol';
import type { ModelAndData } from '../run-inputs/model-and-data.js';
import type { RunRepository } from '../pruning-run/run-repository.js';
import type { EngineJobs } from '../engine-pool/engine-jobs.js';
import type { EngineSlot } from '../engine-pool/engine-slot.js';
import type { LiveProgress } from '../live/live-progress.js';
import type { RunFeed } from '../feed/run-feed.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { SegmentRecorder, TrainedSegment } from './recording/segment-recorder.js';

/** The words for the engine's work while a run is loaded, as messages to waiting callers use them. */
export const runToBeLoaded = (runId: string): string => `run ${runId} to be loaded`;

/** The parts that an attempt works with. The driver provides them. */
export interface AttemptParts {
  runs: Pick<RunRepository, 'change'>;
  feed: Pick<RunFeed, 'onChange'>;
  artifacts: Pick<ArtifactStore, 'open' | 'get' | 'verify'>;
  modelAndData: Pick<ModelAndData, 'remakeTokens'>;
  recorder: Pick<SegmentRecorder, 'record'>;
  /** Compares a segment with its stored state, where the engine is not one of this installation. */
  checkState?: (run: PruningRunState, segment: TrainedSegment) => Promise<void>;
  live: Pick<LiveProgress, 'heard' | 'report' | 'ended' | 'waits' | 'goesOn' | 'isWatched' | 'onWatched'>;
  jobs: Pick<EngineJobs, 'waitingAt' | 'runAllAt'>;
  /** The slot of the engine that trains the run. */
  slot: Pick<EngineSlot, 'name' | 'doing' | 'promisedBytes' | 'workbench' | 'isLeaving'>;
  /** Whether an error that another attempt would meet again, too, ends the run. If not, another engine tries it. */
  endsRun: () => boolean;
  log: Logger;
  /** The name of this process. */
  instance: string;
  /** The least time between two recordings. Shorter segments are recorded together. */
  recordIntervalMs: number;
  /** Aborts when the orchestrator stops. */
  shutdown: AbortSignal;
}

/**
 * Throws if the engine is about to leave. It has then handed in its last segment, and another engine takes the run. @throws EspalierError
 * ENGINE_LEFT
 */
export function requireToStay({ name, isLeaving }: AttemptParts['slot']): void {
  if (isLeaving) throw new EspalierError('ENGINE_LEFT', `engine ${name} ended in good order: the run goes on elsewhere`);
}

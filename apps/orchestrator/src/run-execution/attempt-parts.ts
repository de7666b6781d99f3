import type { Logger } from 'pino';
import type { ArtifactStore } from '#artifact-store';
import type { ModelAndData } from '../run-commands/model-and-data.js';
import type { RunRepository } from '../pruning-run/run-repository.js';
import type { EngineJobs } from '../engines/engine-jobs.js';
import type { EngineWorkbench } from '../engines/engine-workbench.js';
import type { LiveProgress } from '../views/live-progress.js';
import type { RunFeed } from '../views/run-feed.js';
import type { SegmentRecorder } from './recording/segment-recorder.js';

/** The parts that an attempt works with; the driver lends them. */
export interface AttemptParts {
  runs: RunRepository;
  feed: RunFeed;
  artifacts: ArtifactStore;
  modelAndData: ModelAndData;
  recorder: SegmentRecorder;
  live: LiveProgress;
  jobs: EngineJobs;
  log: Logger;
  /** The name of this process. */
  instance: string;
  threads: number;
  /** Segments are recorded together when they are shorter than this. */
  recordIntervalMs: number;
  /** Aborted when the orchestrator stops. */
  shutdown: AbortSignal;
  /** The workbench of the running engine; starts an engine where there is none. */
  workbench(): Promise<EngineWorkbench>;
}

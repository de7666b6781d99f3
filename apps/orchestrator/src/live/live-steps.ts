// The steps that engines have reported and that are not recorded yet, as WatchRun and the shown status need them.
import type { StepMeasurement } from '../pruning-run/record/steps-measured.js';

/** The cause that a run, or all runs, wait for at the moment. Work goes on by itself when it is gone. */
export interface LiveWait {
  code: string;
  message: string;
  sinceMs: number;
}

/** The present work to prepare a run. */
export interface LivePreparation {
  doing: string;
  doneShare: number;
}

export interface LiveSteps {
  /** The time of the last sign of life of the run's engine, in milliseconds of the epoch; null where this process hears nothing of it. */
  heardAt(runId: string): number | null;
  /** The reported steps from this one on, in order. */
  since(runId: string, step: number): StepMeasurement[];
  /** The listener is called at each report. Call the result to remove it. */
  onReport(listener: (runId: string) => void): () => void;
  /** Notes that a client watches the run, which is then reported often. Call the result when the client stops. */
  watch(runId: string): () => void;
  /** The runs of whose engines there was a sign of life. */
  heardRuns(): string[];
  /** Null where this process does not prepare the run. */
  preparationOf(runId: string): LivePreparation | null;
  /** The engines and runs that a queued run waits for, in words; '' where it does not wait for its turn, or where that is not known yet. */
  queuedFor(runId: string): string;
  /** Null where the run waits for nothing. */
  waitOf(runId: string): LiveWait | null;
}

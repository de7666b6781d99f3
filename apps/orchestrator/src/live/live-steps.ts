// Steps that engines have reported but that are not recorded yet, as WatchRun and the shown status need them.
import type { StepMeasurement } from '../pruning-run/record/steps-measured.js';

/** The cause that a run, or everything, waits for at the moment; it goes on by itself. */
export interface LiveWait {
  code: string;
  message: string;
  sinceMs: number;
}

/** The work that is being done to prepare a run. */
export interface LivePreparation {
  doing: string;
  doneShare: number;
}

export interface LiveSteps {
  /** When something was last heard of the run's engine, in ms of the epoch; null: nothing is heard here. */
  heardAt(runId: string): number | null;
  /** Reported steps from this one on, in order. */
  since(runId: string, step: number): StepMeasurement[];
  /** Calls back at each report; returns how to stop that. */
  onReport(listener: (runId: string) => void): () => void;
  /** A client watches the run, so it is reported often. Call the result when the client stops. */
  watch(runId: string): () => void;
  /** Runs that something was heard of. */
  heardRuns(): string[];
  /** null: it is not being prepared here. */
  preparationOf(runId: string): LivePreparation | null;
  /** null: nothing is waited for. */
  waitOf(runId: string): LiveWait | null;
}

/** For processes that drive no engine: nothing is ever heard. */
export const noLiveSteps: LiveSteps = {
  heardAt: () => null,
  since: () => [],
  onReport: () => () => undefined,
  watch: () => () => undefined,
  heardRuns: () => [],
  preparationOf: () => null,
  waitOf: () => null,
};

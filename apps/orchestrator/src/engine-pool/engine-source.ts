// Where further engines come from, such as a fleet on a cluster.
import type { engineV1 } from '#protocol';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { NO_ENGINE, type Placement, type WaitingJob, type WaitingRun } from './placement.js';

/** The parts of a run that decide whether an engine can train the run. */
export type RunToFit = Pick<PruningRunState, 'settings' | 'model'> & { budget?: PruningRunState['budget'] | undefined };

/** Brings engines that are not there yet. */
export interface EngineSource {
  /** The most engines that the source can have at a time. */
  readonly most: number;
  /**
   * Called at each placement.
   * @param count the number of runs and jobs that no engine can take now
   */
  wants(count: number): void;
  /** The reason why a run has no engine yet, in words, or '' where there is nothing to tell. */
  words(): string;
  /** The memory that a run would take on an engine that is not there yet. */
  planMemory(run: RunToFit): Promise<engineV1.PlanMemoryResponse>;
}

/** Tells the source of further engines how much work waits, and adds the source's words to the reasons why runs wait. */
export function askingFor(source: EngineSource, placement: Placement, runs: readonly WaitingRun[], jobs: readonly WaitingJob[]): Placement {
  const unplaced = runs.filter(({ runId }) => !placement.runs.some((one) => one.runId === runId));
  // Jobs are short, so one more engine is enough for all jobs that no engine can do.
  const needsEngine = jobs.some(({ id, slot }) => slot === null && !placement.jobs.some((one) => one.id === id));
  source.wants(unplaced.length + (needsEngine ? 1 : 0));
  const words = source.words();
  if (words === '') return placement;
  const own = new Map(placement.waits.map(({ runId, why }) => [runId, why]));
  const waits = unplaced.map(({ runId }) => {
    const why = own.get(runId);
    return { runId, why: why === undefined || why === NO_ENGINE ? words : `${why}; ${words}` };
  });
  return { ...placement, waits };
}

// Where further engines come from, such as a fleet on a cluster.
import type { engineV1 } from '#protocol';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { NO_ENGINE, type Fit, type Placement, type WaitingJob } from './placement.js';

/** The parts of a run that decide whether an engine can train the run. */
export type RunToFit = Pick<PruningRunState, 'settings' | 'model'> & { budget?: PruningRunState['budget'] | undefined };

/** A run that waits for an engine. */
export interface RunInNeed extends RunToFit {
  runId: string;
  /** Equal for runs that one session can serve. */
  key: string;
  /** The caller whose engine time the run takes, or '' where the record does not say. */
  caller: string;
  /** The numerics that the run must go on with, or null where any will do. */
  fingerprint: string | null;
  /** The engines' answers by slot; empty where no engine was asked. */
  fits: ReadonlyMap<string, Fit>;
}

/** Brings engines that are not there yet. */
export interface EngineSource {
  /** The most engines that the source can have at a time. */
  readonly most: number;
  /**
   * Called at each placement.
   * @param runs the runs that no engine can take now, in the order of their turn
   * @param needsAny whether other work needs an engine, of any kind
   */
  wants(runs: readonly RunInNeed[], needsAny: boolean): void;
  /** The reason why the run has no engine yet, in words, or '' where there is nothing to tell. */
  words(run: RunInNeed): string;
  /** The engines of the source that must not have the run. */
  barred(run: RunInNeed): ReadonlySet<string>;
  /** The memory that a run would take on an engine that is not there yet. */
  planMemory(run: RunToFit): Promise<engineV1.PlanMemoryResponse>;
}

/** Tells the source of further engines which work waits, and adds the source's words to the reasons why runs wait. */
export function askingFor(source: EngineSource, placement: Placement, runs: readonly RunInNeed[], jobs: readonly WaitingJob[]): Placement {
  const placed = new Set(placement.runs.map(({ runId }) => runId));
  const unplaced = runs.filter(({ runId }) => !placed.has(runId));
  // Jobs are short, so one more engine is enough for all jobs that no engine can do.
  const needsAny = jobs.some(({ id, slot }) => slot === null && !placement.jobs.some((one) => one.id === id));
  source.wants(unplaced, needsAny);
  const own = new Map(placement.waits.map(({ runId, why }) => [runId, why]));
  const waits = unplaced.flatMap((run) => {
    const { runId } = run;
    const [why, words] = [own.get(runId), source.words(run)];
    if (words === '') return why === undefined ? [] : [{ runId, why }];
    return [{ runId, why: why === undefined || why === NO_ENGINE ? words : `${why}; ${words}` }];
  });
  return { ...placement, waits };
}

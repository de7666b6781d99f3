// Sorts waiting runs into the order of their turns. It is a pure function of the runs and of their callers' engine time.
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';

export type RunInTurn = Pick<
  PruningRunState,
  'runId' | 'launchedAt' | 'launchedBy' | 'priority' | 'status' | 'pausedBy' | 'restartNotBefore'
>;

/** A run that gets an engine counts as this much time of its caller at once, since its real time is not known yet. */
const RUN_AHEAD_SECONDS = 3_600;

/**
 * 1. A run that lost its engine or its server goes on before any other begins.
 * 2. Runs of a higher priority come first.
 * 3. The run of the caller with the least recent engine time comes first. Each run of a caller that is at work, or stands before, counts as
 *    an hour more.
 * 4. Runs of one caller keep the order of their launches.
 * @param recentSeconds the engine time of a caller, of which older time counts less
 * @param atWork the number of a caller's runs that have an engine
 */
export function inTurn<Run extends RunInTurn>(
  waiting: readonly Run[],
  recentSeconds: (caller: string) => number,
  atWork: (caller: string) => number,
): Run[] {
  const shares = new Map<string, number>();
  const ranked = waiting.toSorted(byOwnOrder).map((run) => {
    const caller = callerOf(run);
    const share = shares.get(caller) ?? recentSeconds(caller) + atWork(caller) * RUN_AHEAD_SECONDS;
    shares.set(caller, share + RUN_AHEAD_SECONDS);
    return { run, share };
  });
  return ranked
    .sort((left, right) => byRank(left.run, right.run) || left.share - right.share || byLaunch(left.run, right.run))
    .map(({ run }) => run);
}

/** The caller whose engine time a run takes: its launcher, also after another one has resumed it. '' where the record does not say. */
export const callerOf = ({ launchedBy }: Pick<PruningRunState, 'launchedBy'>): string => launchedBy ?? '';

const wasAtWork = ({ status, pausedBy, restartNotBefore }: RunInTurn): boolean =>
  status === 'restarting' || pausedBy === 'shutdown' || restartNotBefore !== null;

function byRank(left: RunInTurn, right: RunInTurn): number {
  return Number(wasAtWork(right)) - Number(wasAtWork(left)) || right.priority - left.priority;
}

function byLaunch(left: RunInTurn, right: RunInTurn): number {
  return compared(left.launchedAt, right.launchedAt) || compared(left.runId, right.runId);
}

const byOwnOrder = (left: RunInTurn, right: RunInTurn): number => byRank(left, right) || byLaunch(left, right);

const compared = (left: string, right: string): number => (left < right ? -1 : left > right ? 1 : 0);

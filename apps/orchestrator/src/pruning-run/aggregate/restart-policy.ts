// How a run is restarted after its engine was lost; pure, and a function of recorded facts, so it survives restarts.
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;

/** Attempts that end without a recorded step before the run no longer tries by itself. */
export const ATTEMPTS_WITHOUT_PROGRESS_MAX = 8;

export function restartDelayMs(attemptsWithoutProgress: number): number {
  return Math.min(FIRST_DELAY_MS * 2 ** attemptsWithoutProgress, LONGEST_DELAY_MS);
}

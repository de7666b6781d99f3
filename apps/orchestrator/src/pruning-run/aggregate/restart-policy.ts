// How a run is restarted after its engine was lost; pure, and a function of recorded facts, so it survives restarts.
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;

/** Attempts that end without progress before the run no longer tries by itself. */
export const ATTEMPTS_WITHOUT_PROGRESS_MAX = 8;

export function restartDelayMs(attemptsWithoutProgress: number): number {
  return Math.min(FIRST_DELAY_MS * 2 ** attemptsWithoutProgress, LONGEST_DELAY_MS);
}

/**
 * Failed attempts in a row, after an attempt was lost. An attempt that got further than those before it made progress, even if it recorded
 * none.
 */
export function attemptsWithoutProgress(
  before: { attemptsWithoutProgress: number; furthestStep: number; current: { step: number } | null },
  { cause, reachedStep = 0 }: { cause: 'engine' | 'orchestrator'; reachedStep?: number | undefined },
): number {
  if (cause === 'orchestrator') return before.attemptsWithoutProgress;
  return reachedStep > Math.max(before.furthestStep, before.current?.step ?? 0) ? 1 : before.attemptsWithoutProgress + 1;
}

// When a run is restarted after it lost its engine. The functions are pure and use recorded facts only, so a restart of the server changes
// nothing.
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;

/** After this many attempts without progress the run no longer restarts by itself. */
export const ATTEMPTS_WITHOUT_PROGRESS_MAX = 8;

/** After these losses the engine gets no more work, so they say nothing about the run. */
const SET_ASIDE_BY = new Set(['RESULT_CONTRADICTS_STATE']);

/** After these losses the run waits, with the longest pauses between its attempts: what it lacks comes free by itself. */
const WAITED_FOR = new Set(['MODEL_CACHE_FULL', 'ENGINE_DISK_FULL']);

export function restartDelayMs(attemptsWithoutProgress: number): number {
  return Math.min(FIRST_DELAY_MS * 2 ** attemptsWithoutProgress, LONGEST_DELAY_MS);
}

/**
 * The number of failed attempts in a row, after one more was lost. An attempt that got further than those before it made progress, even if
 * it recorded nothing.
 */
export function attemptsWithoutProgress(
  before: { attemptsWithoutProgress: number; furthestStep: number; current: { step: number } | null },
  { cause, code, reachedStep = 0 }: { cause: 'engine' | 'orchestrator'; code: string; reachedStep?: number | undefined },
): number {
  if (cause === 'orchestrator' || SET_ASIDE_BY.has(code)) return before.attemptsWithoutProgress;
  const attempts = reachedStep > Math.max(before.furthestStep, before.current?.step ?? 0) ? 1 : before.attemptsWithoutProgress + 1;
  return WAITED_FOR.has(code) ? Math.min(attempts, ATTEMPTS_WITHOUT_PROGRESS_MAX - 1) : attempts;
}

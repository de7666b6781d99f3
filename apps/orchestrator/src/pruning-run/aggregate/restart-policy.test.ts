import { ATTEMPTS_WITHOUT_PROGRESS_MAX, attemptsWithoutProgress, restartDelayMs } from './restart-policy.js';

const after = (losses: number, code: string): number => {
  let attempts = 0;
  for (let loss = 0; loss < losses; loss++)
    attempts = attemptsWithoutProgress(
      { attemptsWithoutProgress: attempts, furthestStep: 0, current: null },
      { cause: 'engine', code, reachedStep: 0 },
    );
  return attempts;
};

test.each(['MODEL_CACHE_FULL', 'ENGINE_DISK_FULL'])('a run that finds no room (%s) waits, however often it was tried', (code) => {
  expect(after(100, 'ENGINE_LOST')).toBeGreaterThanOrEqual(ATTEMPTS_WITHOUT_PROGRESS_MAX);
  expect(after(3, code)).toBe(3);
  expect(after(100, code)).toBe(ATTEMPTS_WITHOUT_PROGRESS_MAX - 1);
  expect(restartDelayMs(after(100, code) - 1)).toBe(30_000);
});

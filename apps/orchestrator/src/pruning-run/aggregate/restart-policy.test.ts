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

test('a run whose model finds no room in an engine waits, with long pauses, however often it was tried', () => {
  expect(after(100, 'ENGINE_LOST')).toBeGreaterThanOrEqual(ATTEMPTS_WITHOUT_PROGRESS_MAX);
  expect(after(3, 'MODEL_CACHE_FULL')).toBe(3);
  expect(after(100, 'MODEL_CACHE_FULL')).toBe(ATTEMPTS_WITHOUT_PROGRESS_MAX - 1);
  expect(restartDelayMs(after(100, 'MODEL_CACHE_FULL') - 1)).toBe(30_000);
});

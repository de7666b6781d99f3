// Tests when a target is met. The hard masks count, since they are exported.
import { hasMissedTarget, isOffTarget, missAdvice } from './target-check.js';

test('a run is on target within one point, above and below', () => {
  expect([0.49, 0.5, 0.51].map((sparsity) => isOffTarget(sparsity, 0.5))).toEqual([false, false, false]);
  expect([0.33, 0.4899, 0.5101, 0.87].map((sparsity) => isOffTarget(sparsity, 0.5))).toEqual([true, true, true, true]);
});

test('31.36% of 30% is missed, and so is 37.9% of 70%, once the run has completed', () => {
  for (const [hardSparsity, targetSparsity] of [
    [0.3136, 0.3],
    [0.379, 0.7],
  ] as const) {
    expect(hasMissedTarget({ completed: true, hardSparsity, targetSparsity })).toBe(true);
    expect(hasMissedTarget({ completed: false, hardSparsity, targetSparsity })).toBe(false);
  }
  expect(hasMissedTarget({ completed: true, hardSparsity: 0.704, targetSparsity: 0.7 })).toBe(false);
});

test('a missed target is blamed on the steps only where the masks did not learn it', () => {
  const names = { steps: 'steps', maskRate: 'rate', freeShapes: 'free shapes' };
  const advice = (expectedSparsity: number, isFree: boolean): string =>
    missAdvice({ expectedSparsity, targetSparsity: 0.5, isFree }, names);
  expect(advice(0.44, false)).toBe('more steps or a higher rate come closer');
  expect(advice(0.501, false)).toBe('the masks learned 50.1%, and the rest is rounding to shapes: with free shapes there are finer sizes');
  expect(advice(0.501, true)).toBe('the masks learned 50.1%, and the rest is rounding to whole parts: another target fits them better');
});

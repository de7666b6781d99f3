import { clockTicksWithin, linearTicks, logTicks, ticksWithin } from './ticks.js';

describe('the round values of an axis', () => {
  test.each([
    [0.461, 0.508, [0.46, 0.47, 0.48, 0.49, 0.5, 0.51]],
    [0, 0.5, [0, 0.1, 0.2, 0.3, 0.4, 0.5]],
    [0, 400, [0, 100, 200, 300, 400]],
    [-3, 3, [-4, -2, 0, 2, 4]],
    [5, 5, [5, 6]],
  ])('from %p to %p', (low, high, ticks) => {
    expect(linearTicks(low, high)).toEqual(ticks);
  });

  test('those of a logarithmic axis cover its values', () => {
    expect(logTicks(3, 60)).toEqual([2, 5, 10, 20, 50, 100]);
    expect(logTicks(4, 4)).toEqual([2, 5]);
  });

  test('where many powers of ten are shown, the values between them are left out', () => {
    expect(ticksWithin(0.5, 200_000, true)).toEqual([1, 10, 100, 1000, 10_000, 100_000]);
    expect(ticksWithin(3, 60, true)).toEqual([5, 10, 20, 50]);
    expect(ticksWithin(1.1, 1.4, true)).toEqual([1.1, 1.2, 1.3, 1.4]);
  });
});

test('times on an axis are round, at most about eight, and within it', () => {
  const midnight = new Date(2026, 10, 28).getTime() / 1000;
  expect(clockTicksWithin(midnight + 7, midnight + 67).map((at) => at - midnight)).toEqual([10, 20, 30, 40, 50, 60]);
  expect(clockTicksWithin(midnight - 1, midnight + 7 * 3600).map((at) => at - midnight)).toEqual(
    [0, 1, 2, 3, 4, 5, 6, 7].map((one) => one * 3600),
  );
  const days = clockTicksWithin(midnight, midnight + 30 * 86_400);
  expect(days.length).toBeLessThanOrEqual(9);
  expect(new Date(days[0]! * 1000).getHours()).toBe(0);
});

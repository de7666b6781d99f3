import { clockTicksWithin, ticksWithin } from './ticks.js';

test('where many powers of ten are shown, the values between them are left out', () => {
  expect(ticksWithin(0.5, 200_000, true)).toEqual([1, 10, 100, 1000, 10_000, 100_000]);
  expect(ticksWithin(3, 60, true)).toEqual([5, 10, 20, 50]);
  expect(ticksWithin(1.1, 1.4, true)).toEqual([1.1, 1.2, 1.3, 1.4]);
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

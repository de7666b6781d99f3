import { axis, linearTicks, logTicks } from './axis.js';

test('values that hardly differ lie on an axis that is wide enough to say so', () => {
  const { ticks, at } = axis([30.1, 30.4], 0, 100, { least: 10 });
  expect([ticks[0]! <= 25.3, ticks.at(-1)! >= 35.2]).toEqual([true, true]);
  expect(at(30.4) - at(30.1)).toBeLessThan(4);
  expect(axis([30, 50], 0, 100, { least: 10 }).ticks).toEqual(axis([30, 50], 0, 100).ticks);
  expect(axis([1], 0, 100, { least: 10 }).ticks[0]).toBe(0); // a share is not below 0
});

test.each([{ isLog: false }, { isLog: true }])('a place on an axis has a value again: %p', (options) => {
  const { at, valueAt } = axis([2, 70], 300, 10, options);
  for (const value of [2, 7, 70]) expect(valueAt(at(value))).toBeCloseTo(value, options.isLog ? 0 : 1);
});

test.each([
  [0.461, 0.508, [0.46, 0.47, 0.48, 0.49, 0.5, 0.51]],
  [0, 0.5, [0, 0.1, 0.2, 0.3, 0.4, 0.5]],
  [0, 400, [0, 100, 200, 300, 400]],
  [-3, 3, [-4, -2, 0, 2, 4]],
  [5, 5, [5, 6]],
])('the round values from %p to %p', (low, high, ticks) => {
  expect(linearTicks(low, high)).toEqual(ticks);
});

test('those of a logarithmic axis cover its values', () => {
  expect(logTicks(3, 60)).toEqual([2, 5, 10, 20, 50, 100]);
  expect(logTicks(4, 4)).toEqual([2, 5]);
});

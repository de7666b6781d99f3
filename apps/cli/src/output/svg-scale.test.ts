import { scale } from './svg-scale.js';

test('values that hardly differ lie on an axis that is wide enough to say so', () => {
  const { ticks, at } = scale([30.1, 30.4], 0, 100, 10);
  expect([ticks[0]! <= 25.3, ticks.at(-1)! >= 35.2]).toEqual([true, true]);
  expect(at(30.4) - at(30.1)).toBeLessThan(4);
  expect(scale([30, 50], 0, 100, 10).ticks).toEqual(scale([30, 50], 0, 100).ticks);
  expect(scale([1], 0, 100, 10).ticks[0]).toBe(0); // a share is not below 0
});

import { lookOf, TONES } from './line-looks.js';

const text = (index: number): string => JSON.stringify(lookOf(index));

test('lines are told apart without colour from the second one on, and no two of the first 36 look alike', () => {
  const dashes = Array.from({ length: TONES }, (_, index) => lookOf(index).dash.join());
  expect(new Set(dashes).size).toBe(TONES);
  expect(new Set(Array.from({ length: 36 }, (_, index) => text(index))).size).toBe(36);
});

import { meanLines } from './mean-lines.js';

test('mean curves of groups share an axis of steps, and have a band of one standard deviation', () => {
  const { x, curves } = meanLines([
    { values: ['lm', '0.5'], runs: 3, steps: [0n, 50n], mean: [4, 2], spread: [1, 0.5] },
    { values: ['', '0.5'], runs: 1, steps: [50n, 100n], mean: [6, 7], spread: [0, 0] },
  ]);
  expect(x).toEqual([0, 50, 100]);
  expect(curves.map(({ label, values, lowest, highest }) => [label, values, lowest, highest])).toEqual([
    ['lm, 0.5 (3 runs)', [4, 2, null], [3, 1.5, null], [5, 2.5, null]],
    ['–, 0.5 (1 run)', [null, 6, 7], [null, 6, 7], [null, 6, 7]],
  ]);
  expect(meanLines([{ values: [], runs: 700, steps: [0n], mean: [1], spread: [0] }]).curves[0]!.label).toBe('all (700 runs)');
});

import { lookOf } from '../../ui/charts/line-looks.js';
import { allSteps, withPaleLines, type PaleLine } from './pale-lines.js';

const parent: PaleLine = { name: 'parent', steps: [0, 1, 2, 3], values: new Map([['loss', [9, 8, 7, 6]]]) };
const own = { label: 'total', values: [5, 4], lowest: [4, 3], highest: [6, 5], ...lookOf(0) };
const pale = (lines: PaleLine[], steps: number[], quantity = 'loss') => withPaleLines([own], lines, quantity, allSteps(steps, lines));

describe("pale lines beside a run's own curves", () => {
  test('lie on one axis with them', () => {
    expect(allSteps([2, 3], [parent])).toEqual({ steps: [0, 1, 2, 3], before: 2 });
    expect(allSteps([0, 1], [{ ...parent, steps: [1, 2, 5] }])).toEqual({ steps: [0, 1, 2, 5], before: 0 });
    expect(allSteps([], [parent])).toEqual({ steps: [], before: 0 });
    expect(allSteps([2, 3], [])).toEqual({ steps: [2, 3], before: 0 });
  });

  test("a fork's curves begin with its parent's, and all have as many points", () => {
    const [curve, line] = pale([{ ...parent, steps: [0, 1], values: new Map([['loss', [9, 8]]]) }], [2, 3]);
    expect(curve).toMatchObject({ values: [null, null, 5, 4], lowest: [null, null, 4, 3], highest: [null, null, 6, 5] });
    expect(line).toMatchObject({ label: 'total, parent', isPale: true, tone: 1, values: [9, 8, null, null] });
  });

  test('an abandoned branch lies over the steps that replaced it, and goes on behind them', () => {
    const branch: PaleLine = { name: 'abandoned', steps: [1, 3, 4], values: new Map([['loss', [7, 5, 6]]]) };
    const [curve, line] = pale([branch], [1, 2]);
    expect(curve).toMatchObject({ values: [5, 4, null, null] });
    expect(line).toMatchObject({ label: 'total, abandoned', values: [7, 6, 5, 6] });
  });

  test('are left out where they lack the quantity', () => {
    expect(pale([parent], [2, 3], 'kl_loss').map(({ label }) => label)).toEqual(['total']);
    expect(withPaleLines([own], [], 'loss', allSteps([2, 3], []))).toEqual([own]);
  });
});

import { lookOf } from '../ui/looks.js';
import { stepsBefore, withParent, type ParentLine } from './parent-lines.js';

const parent: ParentLine = { steps: [0, 1, 2, 3], values: new Map([['loss', [9, 8, 7, 6]]]) };
const own = { label: 'total', values: [5, 4], lowest: [4, 3], highest: [6, 5], ...lookOf(0) };

describe("the parent's line before a fork's curves", () => {
  test('has the points before the fork', () => {
    expect(stepsBefore(parent, [2, 3])).toEqual([0, 1]);
    expect(stepsBefore(parent, [])).toEqual([]);
    expect(stepsBefore(undefined, [2, 3])).toEqual([]);
  });

  test('is pale, and all curves have as many points', () => {
    const [curve, line] = withParent([own], parent, 'loss', 2);
    expect(curve).toMatchObject({ values: [null, null, 5, 4], lowest: [null, null, 4, 3], highest: [null, null, 6, 5] });
    expect(line).toMatchObject({ label: 'total, parent', isPale: true, tone: 1, values: [9, 8, null, null] });
  });

  test('is left out where the parent has no such quantity', () => {
    const curves = withParent([own], parent, 'kl_loss', 2);
    expect(curves.map(({ values }) => values)).toEqual([[null, null, 5, 4]]);
    expect(withParent([own], undefined, 'loss', 0)).toEqual([own]);
  });
});

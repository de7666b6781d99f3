import { lastPointOf, legendValue, shownAt } from './legend-values.js';

const total = { values: [3, 2, 1, null] };
const hard = { values: [null, 0.2, null, null], spans: true };
const pale = { values: [9, 9, 9, 9], isPale: true };

describe('the values of a legend', () => {
  test('stand at the last point of the lines, and pale lines do not move it', () => {
    expect(lastPointOf([total, hard, pale])).toBe(2);
    expect(lastPointOf([{ values: [null, NaN] }, pale])).toBeNull();
  });

  test('are those of one point; a line that ended before, or has few values, says whose value it shows', () => {
    expect(legendValue(total, null)).toEqual({ value: 1, at: 2 });
    expect(legendValue(hard, null)).toEqual({ value: 0.2, at: 1 });
    expect(legendValue(hard, 3)).toEqual({ value: 0.2, at: 1 });
  });

  test('are missing where a line has none, and never taken from another point', () => {
    expect(legendValue(total, 3)).toBeNull();
    expect(legendValue(hard, 0)).toBeNull();
    expect(shownAt(total, -1)).toBeNull();
    expect(legendValue({ values: [] }, null)).toBeNull();
  });
});

// Reduces a curve to fewer points without losing anything remarkable: the first and last step, the highest and lowest value of every
// quantity, skipped steps, and in each stretch the highest and lowest loss.
import { LOSS_NAMES } from '#comparison';
import { METRIC_COLUMNS, numberAt, ROW_DOUBLES, rowCount } from '../../views/projection/metrics-codec.js';

const LOSS = METRIC_COLUMNS.indexOf('loss');
const SKIPPED = METRIC_COLUMNS.indexOf('skipped');
/** The quantities in the order in which their extremes get a place when there are few. */
const EXTREME_COLUMNS = (
  ['loss', 'gradientNorm', ...LOSS_NAMES, 'expectedSparsity', 'lagrangian', 'lambda1', 'lambda2', 'seconds'] as const
).map((name) => METRIC_COLUMNS.indexOf(name));

/** The indices of the rows to show, in rising order. All rows are shown if there are at most `maxPoints`, which is at least 2. */
export function downsample(rows: Float64Array, maxPoints: number): number[] {
  const count = rowCount(rows);
  if (count <= maxPoints) return Array.from({ length: count }, (_, index) => index);
  const chosen = new Set<number>([0, count - 1]);
  const choose = (index: number): void => {
    if (index >= 0 && chosen.size < maxPoints) chosen.add(index);
  };
  for (const column of EXTREME_COLUMNS) {
    const { lowest, highest } = extremes(rows, column, 0, count);
    choose(highest);
    choose(lowest);
  }
  for (const index of skippedRows(rows, count, Math.floor(maxPoints / 4))) choose(index);

  const stretches = Math.floor((maxPoints - chosen.size) / 2);
  for (let stretch = 0; stretch < stretches; stretch += 1) {
    const { lowest, highest } = extremes(
      rows,
      LOSS,
      Math.floor((stretch * count) / stretches),
      Math.floor(((stretch + 1) * count) / stretches),
    );
    choose(highest);
    choose(lowest);
  }
  return [...chosen].sort((left, right) => left - right);
}

function extremes(rows: Float64Array, column: number, from: number, to: number): { lowest: number; highest: number } {
  const valueAt = (index: number): number => numberAt(rows, index * ROW_DOUBLES + column);
  let lowest = -1;
  let highest = -1;
  for (let index = from; index < to; index += 1) {
    const value = valueAt(index);
    if (Number.isNaN(value)) continue;
    if (lowest < 0 || value < valueAt(lowest)) lowest = index;
    if (highest < 0 || value > valueAt(highest)) highest = index;
  }
  return { lowest, highest };
}

function skippedRows(rows: Float64Array, count: number, atMost: number): number[] {
  const found: number[] = [];
  for (let index = 0; index < count && found.length < atMost; index += 1) {
    if (rows[index * ROW_DOUBLES + SKIPPED] === 1) found.push(index);
  }
  return found;
}

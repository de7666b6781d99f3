// Places the recorded states of a layer on an axis of steps. Between two states, the gates that differ changed at a step that is not known.
import { ends } from '../../ui/format.js';

/** The most columns of a picture. Screens have few more pixels for it. */
const MOST_COLUMNS = 1_200;

/** The two states around a place: the last one that is not behind it, and the next one. Both are the same at a recorded state. */
export interface Around {
  before: number;
  by: number;
}

/** @param share the place on the axis, from 0 for the first state to 1 for the last one */
export function statesAround(share: number, steps: readonly number[]): Around {
  const [first, last] = ends(steps);
  const step = first + Math.min(Math.max(share, 0), 1) * (last - first);
  const before = Math.max(
    0,
    steps.findLastIndex((one) => one <= step),
  );
  return { before, by: steps[before] === step ? before : Math.min(before + 1, steps.length - 1) };
}

/**
 * Returns the picture's open shares from 0 to 255, row by row: a row for each group, and columns of equally many steps. Where a group
 * changed between two states, the columns between them have the mean of both.
 * @param open the groups' open shares, state by state
 */
export function gateColumns(open: Uint8Array, groups: number, steps: readonly number[]): { shares: Uint8Array; columns: number } {
  const [first, last] = ends(steps);
  const columns = Math.min(Math.max(last - first, 1), MOST_COLUMNS);
  const shares = new Uint8Array(groups * columns);
  for (let column = 0; column < columns; column += 1) {
    const { before, by } = statesAround((column + 0.5) / columns, steps);
    for (let group = 0; group < groups; group += 1)
      shares[group * columns + column] = ((open[before * groups + group] ?? 0) + (open[by * groups + group] ?? 0)) / 2;
  }
  return { shares, columns };
}

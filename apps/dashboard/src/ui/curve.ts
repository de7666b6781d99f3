import type { Look } from './looks.js';

/** One line of a chart. */
export interface Curve extends Look {
  label: string;
  values: (number | null)[];
  lowest?: (number | null)[];
  highest?: (number | null)[];
  /** Not every point has a value: the line goes on to the next that has. */
  spans?: boolean;
  /** Beside the subject of the chart: drawn thin, and without a value in the legend. */
  isPale?: boolean;
}

/** Something that happened at a place of the x axis. */
export interface ChartMark {
  x: number;
  kind: MarkKind;
  words: string;
}
export type MarkKind = 'teacher' | 'phase' | 'fork' | 'rewind' | 'restart';

/** As people smooth a noisy curve: each value pulls the one before towards it by what `share` leaves. */
export function smoothed(values: (number | null)[], share: number): (number | null)[] {
  if (share === 0) return values;
  let last: number | null = null;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return value;
    last = last === null ? value : last * share + value * (1 - share);
    return last;
  });
}

/** A curve's values at other places, which rise as its own do: on the line between its points, none beyond them. */
export function interpolated(places: number[], values: (number | null)[], x: number[]): (number | null)[] {
  const points = places.flatMap((place, index) => {
    const value = values[index] ?? null;
    return value === null ? [] : [{ place, value }];
  });
  let next = 0;
  return x.map((at) => {
    while (next < points.length && points[next]!.place < at) next += 1;
    const after = points[next];
    if (after?.place === at) return after.value;
    const before = points[next - 1];
    if (before === undefined || after === undefined) return null;
    return before.value + ((after.value - before.value) * (at - before.place)) / (after.place - before.place);
  });
}

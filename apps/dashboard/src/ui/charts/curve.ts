import type { Look } from './line-looks.js';

/** One line of a chart. */
export interface Curve extends Look {
  label: string;
  values: (number | null)[];
  lowest?: (number | null)[];
  highest?: (number | null)[];
  /** Some points have no value, and the line goes on to the next value. */
  spans?: boolean;
  /** The line is not the subject of the chart: it is drawn thin, and has no value in the legend. */
  isPale?: boolean;
}

/** Something that happened at a place on the x axis. */
export interface ChartMark {
  x: number;
  kind: MarkKind;
  words: string;
}
export type MarkKind = 'teacher' | 'phase' | 'fork' | 'rewind' | 'restart';

/** Smooths a noisy curve by an exponential moving average. `share` is the weight of the values before. */
export function smoothed(values: (number | null)[], share: number): (number | null)[] {
  if (share === 0) return values;
  let last: number | null = null;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return value;
    last = last === null ? value : last * share + value * (1 - share);
    return last;
  });
}

/** Returns a curve's values at other places, interpolated between its points; null beyond them. Both lists of places must rise. */
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

import type { Look } from './line-looks.js';

/** One line of a chart. */
export interface Curve extends Look {
  label: string;
  values: (number | null)[];
  lowest?: (number | null)[];
  highest?: (number | null)[];
  /** The smoothed values. Their line stands in front of the line of the values, which is pale then. Only the drawing has them. */
  smooth?: (number | null)[];
  /** Some points have no value, and the line goes on to the next value. */
  spans?: boolean;
  /** The line is not the subject of the chart: it is drawn thin, and has no value in the legend. */
  isPale?: boolean;
}

/** How the places on an x axis are written: as numbers of things, as shares, or as times of day from seconds since 1970. */
export type XLook = 'count' | 'share' | 'clock';

/** Something that happened at a place on the x axis. */
export interface ChartMark {
  x: number;
  kind: MarkKind;
  words: string;
}
export type MarkKind = 'teacher' | 'phase' | 'fork' | 'rewind' | 'restart';

/** How a reader wants curves to be smoothed. */
export interface Smoothing {
  /** The steps after which a value has lost 63% of its weight; 0: no smoothing. */
  over: number;
  /** The first steps of the run's phases. The mean begins anew there, since another objective has other values. */
  phases: readonly number[];
}

/**
 * Smooths a noisy curve by an exponential moving average over steps, so that it does not depend on how many steps a point stands for.
 * @param steps the step of each value, rising
 */
export function smoothed(values: (number | null)[], steps: readonly number[], { over, phases }: Smoothing): (number | null)[] {
  let [sum, weight, before, phase] = [0, 0, steps[0] ?? 0, -1];
  return values.map((value, index) => {
    if (value === null || !Number.isFinite(value)) return value;
    const step = steps[index] ?? NaN;
    const now = phases.findLastIndex((first) => first <= step);
    if (now !== phase) [sum, weight] = [0, 0];
    const kept = Math.exp(-Math.max(1, step - before) / over);
    [sum, weight, before, phase] = [sum * kept + value * (1 - kept), weight * kept + (1 - kept), step, now];
    return sum / weight;
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
    while ((points[next]?.place ?? at) < at) next += 1;
    const after = points[next];
    if (after?.place === at) return after.value;
    const before = points[next - 1];
    if (before === undefined || after === undefined) return null;
    return before.value + ((after.value - before.value) * (at - before.place)) / (after.place - before.place);
  });
}

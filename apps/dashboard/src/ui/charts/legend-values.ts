// The values that a legend shows: all of them at one place. A value of another place is shown with that place.
import type { Curve } from './curve.js';

export interface ShownValue {
  value: number;
  /** The index of the point whose value it is. */
  at: number;
}

type Line = Pick<Curve, 'values' | 'spans' | 'isPale'>;

const isKnown = (value: number | null | undefined): value is number => value !== null && value !== undefined && Number.isFinite(value);

const lastKnown = (values: (number | null)[], until: number): number =>
  values.findLastIndex((value, index) => index <= until && isKnown(value));

/** The last point at which any line has a value; null where none has one. Pale lines don't count. */
export function lastPointOf(curves: readonly Line[]): number | null {
  const last = Math.max(-1, ...curves.filter(({ isPale }) => isPale !== true).map(({ values }) => lastKnown(values, Infinity)));
  return last < 0 ? null : last;
}

/**
 * Returns the value of a line at a point; null where it has none. A line with `spans` has few values, so the one before counts.
 */
export function shownAt({ values, spans }: Line, point: number): ShownValue | null {
  const at = spans === true ? lastKnown(values, point) : point;
  const value = values[at];
  return isKnown(value) ? { value, at } : null;
}

/** Returns the value at the place that a reader points at, or else the line's last value. */
export function legendValue(line: Line, pointed: number | null): ShownValue | null {
  return shownAt(line, pointed ?? lastKnown(line.values, Infinity));
}

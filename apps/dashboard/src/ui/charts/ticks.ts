// Finds the round values that lie within an axis.
import { linearTicks, logTicks } from '../../../../../libs/comparison/src/index.js';

/** Returns the ticks between two values. On a logarithmic axis these are only powers of ten, if other values would be too dense. */
export function ticksWithin(low: number, high: number, isLog: boolean): number[] {
  const isInside = (value: number): boolean => value >= low && value <= high;
  if (!isLog) return linearTicks(low, high).filter(isInside);
  const all = logTicks(low, high).filter(isInside);
  const powers = all.filter((value) => /^1e/.test(value.toExponential()));
  if (all.length < 2) return linearTicks(low, high).filter((value) => value > 0 && isInside(value));
  return all.length > 8 && powers.length > 1 ? powers : all;
}

/** Round places, and the last one, which stands in place of a round one that is near. */
export const withEnd = (round: readonly number[], last: number, step: number): number[] => [
  ...round.filter((place) => last - place > 0.7 * step),
  last,
];

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const CLOCK_STEPS = [
  1,
  2,
  5,
  10,
  15,
  30,
  ...[1, 2, 5, 10, 15, 30].map((one) => one * MINUTE),
  ...[1, 2, 3, 6, 12].map((one) => one * HOUR),
];
const MOST_CLOCK_TICKS = 8;

/** Returns round times of day, or whole days, between two times in seconds since 1970. */
export function clockTicksWithin(first: number, last: number): number[] {
  const days = Math.ceil((last - first) / DAY / MOST_CLOCK_TICKS);
  const step = CLOCK_STEPS.find((one) => (last - first) / one <= MOST_CLOCK_TICKS) ?? days * DAY;
  const offset = new Date(first * 1000).getTimezoneOffset() * MINUTE;
  const begin = Math.ceil((first - offset) / step) * step + offset;
  return Array.from({ length: Math.max(0, Math.floor((last - begin) / step) + 1) }, (_, index) => begin + index * step);
}

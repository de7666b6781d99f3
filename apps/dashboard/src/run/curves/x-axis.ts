// The x axis of curves: steps, tokens, the time that training has taken, the time of day, or another quantity of the run.
import type { QueryCurvesResponse } from '../../generated/espalier/v1/history_service_pb.js';
import type { XLook } from '../../ui/charts/curve.js';
import { QUANTITIES } from './quantities.js';

/** The axes on which places rise with the steps. */
const RISING = { step: 'step', tokens: 'tokens', time: 'seconds of training', clock: 'date and time' } as const;

/** One of the rising axes, or a quantity: its values may rise and fall, so a line goes from place to place in the order of the steps. */
export type XAxis = string;
/** Each axis with its name. */
export const X_AXES: Readonly<Record<XAxis, string>> = {
  ...RISING,
  ...Object.fromEntries(
    Object.entries(QUANTITIES).map(([quantity, { title, yName }]) => [quantity, quantity === 'loss' ? yName : lowered(title)]),
  ),
};

export const xAxisOf = (text: string | null): XAxis => (text !== null && Object.hasOwn(X_AXES, text) ? text : 'step');
/** Tells whether the places of an axis rise with the steps. */
export const isRising = (axis: XAxis): boolean => Object.hasOwn(RISING, axis);
export const quantityOf = (axis: XAxis): string | undefined => (isRising(axis) ? undefined : axis);
export const lookOfAxis = (axis: XAxis): XLook => (axis === 'clock' ? 'clock' : QUANTITIES[axis]?.isShare === true ? 'share' : 'count');

function lowered(title: string): string {
  return /^[A-Z]{2}/.test(title) ? title : title.charAt(0).toLowerCase() + title.slice(1);
}

/** The part of QueryCurves' answer that gives points their places. */
export type Placing = Pick<QueryCurvesResponse, 'seconds' | 'endedAt' | 'curves'>;

/**
 * Tells whether a step's place follows from its number alone. Only then can lines of other runs and of abandoned branches be drawn beside
 * the run's own.
 */
export const isByNumber = (axis: XAxis): boolean => axis === 'step' || axis === 'tokens';

/** Returns the place of each point on the axis; NaN where a quantity has no value. */
export function placesOf(steps: readonly number[], { seconds, endedAt, curves }: Placing, tokensPerStep: number, axis: XAxis): number[] {
  const quantity = quantityOf(axis);
  if (quantity !== undefined) return curves.find((one) => one.quantity === quantity)?.mean ?? steps.map(() => NaN);
  if (axis === 'step') return [...steps];
  if (axis === 'clock') return steps.map((_, index) => endedAt[index] ?? 0);
  if (axis === 'tokens') return steps.map((step) => (step + 1) * tokensPerStep);
  let sum = 0;
  return steps.map((_, index) => (sum += seconds[index] ?? 0));
}

/** Returns a step's place, interpolated between the points around it; null beyond the points. */
export function placeOfStep(step: number, steps: readonly number[], places: readonly number[]): number | null {
  return between(step, steps, places);
}

export function stepAtPlace(place: number, steps: readonly number[], places: readonly number[]): number {
  const [first, last] = [places[0] ?? 0, places.at(-1) ?? 0];
  return between(Math.min(Math.max(place, first), last), places, steps) ?? 0;
}

function between(at: number, from: readonly number[], to: readonly number[]): number | null {
  const next = from.findIndex((value) => value >= at);
  if (next < 0 || (next === 0 && from[0] !== at)) return null;
  const [low = 0, high = 0] = next === 0 ? [at, at] : from.slice(next - 1, next + 1);
  const [lowTo = 0, highTo = lowTo] = to.slice(Math.max(next - 1, 0), next + 1);
  return high === at ? highTo : lowTo + ((at - low) / (high - low)) * (highTo - lowTo);
}

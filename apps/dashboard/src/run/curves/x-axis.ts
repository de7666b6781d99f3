// The x axis of curves: steps, tokens, the time that training has taken, the time of day, or another quantity of the run.
import type { QueryCurvesResponse } from '../../generated/espalier/v1/history_service_pb.js';
import type { XLook } from '../../ui/charts/curve.js';

interface AxisKind {
  name: string;
  /** The quantity whose values are the places. They may rise and fall, so a line goes from place to place in the order of the steps. */
  quantity?: string;
  look?: XLook;
}

const AXES = {
  step: { name: 'step' },
  tokens: { name: 'tokens' },
  time: { name: 'seconds of training' },
  clock: { name: 'date and time', look: 'clock' },
  sparsity: { name: 'expected sparsity', quantity: 'expected_sparsity', look: 'share' },
  parameters: { name: 'parameters left', quantity: 'parameters' },
  loss: { name: 'loss, nats', quantity: 'loss' },
  rate: { name: 'learning rate of LoRA', quantity: 'lora_learning_rate' },
} as const satisfies Record<string, AxisKind>;

export type XAxis = keyof typeof AXES;
export const X_AXES = Object.fromEntries(Object.entries(AXES).map(([axis, { name }]) => [axis, name])) as Record<XAxis, string>;
const kindOf = (axis: XAxis): AxisKind => AXES[axis];
export const lookOfAxis = (axis: XAxis): XLook => kindOf(axis).look ?? 'count';
export const quantityOf = (axis: XAxis): string | undefined => kindOf(axis).quantity;
/** The quantities that an axis may need besides those of the charts. */
export const AXIS_QUANTITIES: readonly string[] = Object.values<AxisKind>(AXES).flatMap(({ quantity }) => quantity ?? []);

export const xAxisOf = (text: string | null): XAxis => (text !== null && text in AXES ? (text as XAxis) : 'step');

/** The part of QueryCurves' answer that gives points their places. */
export type Placing = Pick<QueryCurvesResponse, 'seconds' | 'endedAt' | 'curves'>;

/**
 * Tells whether a step's place follows from its number alone. Only then can lines of other runs and of abandoned branches be drawn beside
 * the run's own.
 */
export const isByNumber = (axis: XAxis): boolean => axis === 'step' || axis === 'tokens';

/** Tells whether the places of an axis rise with the steps. */
export const isRising = (axis: XAxis): boolean => kindOf(axis).quantity === undefined;

/** Returns the place of each point on the axis; NaN where a quantity has no value. */
export function placesOf(steps: readonly number[], { seconds, endedAt, curves }: Placing, tokensPerStep: number, axis: XAxis): number[] {
  const { quantity } = kindOf(axis);
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

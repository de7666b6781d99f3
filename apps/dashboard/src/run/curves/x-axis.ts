// The x axis of curves: steps, tokens, the time that training has taken, or the time of day.

export type XAxis = 'step' | 'tokens' | 'time' | 'clock';
export const X_AXES: Record<XAxis, string> = {
  step: 'step',
  tokens: 'tokens',
  time: 'seconds of training',
  clock: 'date and time',
};

export const xAxisOf = (text: string | null): XAxis => (text !== null && text in X_AXES ? (text as XAxis) : 'step');

/** The times at which points were trained, as QueryCurves returns them. */
export interface Times {
  seconds: readonly number[];
  endedAt: readonly number[];
}

/**
 * Tells whether a step's place follows from its number alone. Only then can lines of other runs and of abandoned branches be drawn beside
 * the run's own.
 */
export const isByNumber = (axis: XAxis): boolean => axis === 'step' || axis === 'tokens';

/** Returns the place of each point on the axis. */
export function placesOf(steps: readonly number[], { seconds, endedAt }: Times, tokensPerStep: number, axis: XAxis): number[] {
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

// Against what curves are drawn: steps, tokens, or the time that training has taken.

export type XAxis = 'step' | 'tokens' | 'time';
export const X_AXES: Record<XAxis, string> = { step: 'step', tokens: 'tokens', time: 'seconds of training' };

export const xAxisOf = (text: string | null): XAxis => (text !== null && text in X_AXES ? (text as XAxis) : 'step');

/** Where each point lies on the axis. */
export function placesOf(steps: readonly number[], seconds: readonly number[], tokensPerStep: number, axis: XAxis): number[] {
  if (axis === 'step') return [...steps];
  if (axis === 'tokens') return steps.map((step) => (step + 1) * tokensPerStep);
  let sum = 0;
  return steps.map((_, index) => (sum += seconds[index] ?? 0));
}

/** A step's place, on the line between the points around it; null beyond them. */
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
  if (next === 0 || from[next] === at) return to[next]!;
  const share = (at - from[next - 1]!) / (from[next]! - from[next - 1]!);
  return to[next - 1]! + share * (to[next]! - to[next - 1]!);
}

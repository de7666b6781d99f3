// The range of values that the axis of a drawing shows.

/**
 * The least span of an axis of sparsity, in percentage points. Runs with one target end a little beside it, and must not look far apart.
 */
export const LEAST_SPARSITY_POINTS = 10;

/**
 * Returns the lowest and the highest value of the axis. They are at least `least` apart, so that values which hardly differ look alike.
 * Where no value is negative, the axis does not begin below 0.
 */
export function axisRange(values: readonly number[], least: number): [low: number, high: number] {
  const [low, high] = values.reduce<[number, number]>(
    ([from, to], value) => [Math.min(from, value), Math.max(to, value)],
    [Infinity, -Infinity],
  );
  const short = Math.max(least - (high - low), 0) / 2;
  return [low - (low >= 0 ? Math.min(short, low) : short), high + short];
}

// The stretch of an axis that a drawing shows.

/** The least span of an axis of sparsity, in percentage points: runs of one target end a little beside it. */
export const LEAST_SPARSITY_POINTS = 10;

/**
 * The lowest and the highest value of the axis, with a least distance, so that values which hardly differ look alike. Bounds stay at least
 * 0.
 */
export function axisRange(values: readonly number[], least: number): [low: number, high: number] {
  const [low, high] = values.reduce<[number, number]>(
    ([from, to], value) => [Math.min(from, value), Math.max(to, value)],
    [Infinity, -Infinity],
  );
  const short = Math.max(least - (high - low), 0) / 2;
  return [low - (low >= 0 ? Math.min(short, low) : short), high + short];
}

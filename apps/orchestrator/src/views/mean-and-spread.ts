// The mean and spread of one figure over several runs.
import type { v1 } from '#protocol';

/** Returns undefined where there are no values. */
export function figureOf(values: readonly number[]): v1.RunFigure | undefined {
  const n = values.length;
  if (n === 0) return undefined;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const [lowest, highest] = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  return { mean, spread: n > 1 ? Math.sqrt(squares / (n - 1)) : undefined, lowest, highest, n };
}

// Writes ratios of speed in words. They have one direction everywhere: above 1 is faster.

/** The same fields as SpeedUp of espalier.v1: the median ratio, and the interval in which the median of many more rounds would lie. */
export interface SpeedUp {
  times: number;
  low: number;
  high: number;
}

/** An interval around 1 that is wider than this says nothing: the machine was busy, or the rounds were few. */
const WIDEST_AS_FAST = 0.1;

/**
 * Returns "1.6x faster", "1.3x slower", "as fast" or "too noisy to tell". The ratio has only the digits that the spread allows, but enough
 * to keep the number within its interval.
 */
export function speedWords({ times, low, high }: SpeedUp): string {
  if (!(times > 0)) return 'too noisy to tell';
  if (low <= 1 && high >= 1) return high - low > WIDEST_AS_FAST ? 'too noisy to tell' : 'as fast';
  const [factor, from, to] = times > 1 ? [times, low, high] : [1 / times, 1 / high, 1 / low];
  const texts = [digitsFor((to - from) / 2), 1, 2].map((digits) => factor.toFixed(digits));
  const inside = texts.find((text) => Number(text) !== 1 && Number(text) >= from && Number(text) <= to) ?? texts.at(-1)!;
  return Number(inside) === 1 ? 'as fast' : `${inside}x ${times > 1 ? 'faster' : 'slower'}`;
}

/** Returns a text like "1.58 to 1.66": the interval in which the ratio of many more rounds would lie. */
export const spreadWords = ({ low, high }: SpeedUp): string => `${low.toFixed(2)} to ${high.toFixed(2)}`;

/** Returns a text like "1.6x faster (1.58 to 1.66)"; "-" where nothing was measured. */
export const gainWords = (speedUp: SpeedUp | undefined): string =>
  speedUp === undefined ? '-' : `${speedWords(speedUp)} (${spreadWords(speedUp)})`;

/** The number of digits after the point. The last digit is at least as coarse as the spread. */
function digitsFor(halfWidth: number): number {
  if (halfWidth <= 0.01) return 2;
  return halfWidth <= 0.1 ? 1 : 0;
}

// The axis of a drawing: it maps values to places, and chooses round values to write beside it.

export interface Axis {
  at: (value: number) => number;
  /** The value at a place: the reverse of `at`. */
  valueAt: (place: number) => number;
  ticks: number[];
}

const ROUNDING = 1e-9;
/** If the ratio of the largest to the smallest value is above this, an axis that may be logarithmic is. */
const LARGEST_LINEAR_RATIO = 8;

/** Tells whether the values span so much that a logarithmic axis is needed. */
export function spansMuch(values: readonly number[]): boolean {
  const [low, high] = axisRange(values, 0);
  return low > 0 && high / low > LARGEST_LINEAR_RATIO;
}

/**
 * The axis from one place to another. Its first and last tick enclose all values.
 * @param least the least span of the axis
 */
export function axis(values: readonly number[], from: number, to: number, { isLog = false, least = 0 } = {}): Axis {
  const scaled = (value: number): number => (isLog ? Math.log10(value) : value);
  const [low, high] = values.length === 0 ? [0, 1] : axisRange(values, least);
  const ticks = isLog ? logTicks(low, high) : linearTicks(low, high);
  const [first, last] = [scaled(ticks[0]!), scaled(ticks.at(-1)!)];
  const valueAt = (place: number): number => {
    const value = first + ((place - from) / (to - from)) * (last - first);
    return isLog ? 10 ** value : value;
  };
  return { ticks, valueAt, at: (value) => Math.round((from + ((scaled(value) - first) / (last - first)) * (to - from)) * 10) / 10 };
}

/** Returns round values in steps of 1, 2 or 5 times a power of ten. */
export function linearTicks(low: number, high: number, about = 5): number[] {
  const step = stepOf(low, high, about);
  const first = Math.floor(low / step + ROUNDING);
  const last = Math.max(first + 1, Math.ceil(high / step - ROUNDING));
  return Array.from({ length: last - first + 1 }, (_, index) => multiple(first + index, step));
}

export function logTicks(low: number, high: number): number[] {
  const all = Array.from({ length: 41 }, (_, index) => index - 20).flatMap((power) =>
    [1, 2, 5].map((factor) => Number(`${factor}e${power}`)),
  );
  const first = Math.max(
    0,
    all.findLastIndex((value) => value <= low),
  );
  const last = all.findIndex((value) => value >= high);
  return all.slice(first, (last < 0 ? all.length - 1 : Math.max(last, first + 1)) + 1);
}

function stepOf(low: number, high: number, about: number): number {
  const rough = (high - low || Math.abs(high) || 1) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough * (1 - ROUNDING))!;
}

/** Multiplies without the noise of binary fractions: 3 times 0.1 is 0.3. */
function multiple(times: number, step: number): number {
  return Number((times * step).toPrecision(12));
}

/**
 * The least span of an axis of sparsity, in percentage points. Runs with one target end a little beside it, and must not look far apart.
 */
export const LEAST_SPARSITY_POINTS = 10;

/**
 * Returns the lowest and the highest value of the axis. They are at least `least` apart, so that values which hardly differ look alike.
 * Where no value is negative, the axis does not begin below 0.
 */
function axisRange(values: readonly number[], least: number): [low: number, high: number] {
  const [low, high] = values.reduce<[number, number]>(
    ([from, to], value) => [Math.min(from, value), Math.max(to, value)],
    [Infinity, -Infinity],
  );
  const short = Math.max(least - (high - low), 0) / 2;
  return [low - (low >= 0 ? Math.min(short, low) : short), high + short];
}

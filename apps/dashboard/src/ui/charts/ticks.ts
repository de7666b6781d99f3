// Finds round values for an axis, in steps of 1, 2 or 5 times a power of ten.

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

/** Returns the ticks between two values. On a logarithmic axis these are only powers of ten, if other values would be too dense. */
export function ticksWithin(low: number, high: number, isLog: boolean): number[] {
  const isInside = (value: number): boolean => value >= low && value <= high;
  if (!isLog) return linearTicks(low, high).filter(isInside);
  const all = logTicks(low, high).filter(isInside);
  const powers = all.filter((value) => /^1e/.test(value.toExponential()));
  if (all.length < 2) return linearTicks(low, high).filter((value) => value > 0 && isInside(value));
  return all.length > 8 && powers.length > 1 ? powers : all;
}

const ROUNDING = 1e-9;

function stepOf(low: number, high: number, about: number): number {
  const rough = (high - low || Math.abs(high) || 1) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough * (1 - ROUNDING))!;
}

/** Multiplies without the noise of binary fractions: 3 times 0.1 is 0.3. */
function multiple(times: number, step: number): number {
  return Number((times * step).toPrecision(12));
}

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

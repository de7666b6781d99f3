// The axis of a drawing: it maps values to places, and chooses round values to write beside it.
import { axisRange } from '#comparison';

export interface Scale {
  at(value: number): number;
  ticks: number[];
}

/**
 * An axis whose ticks are round values in steps of 1, 2 or 5. The first and the last tick enclose all values.
 * @param least the least span of the axis, so that values which hardly differ look alike
 */
export function scale(values: readonly number[], from: number, to: number, least = 0): Scale {
  const [low, high] = axisRange(values, least);
  const rough = (high - low || Math.abs(high) || 1) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough)!;
  const first = Math.floor(low / step);
  const last = Math.max(first + 1, Math.ceil(high / step));
  const ticks = Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
  const at = (value: number): number => Math.round((from + ((value / step - first) / (last - first)) * (to - from)) * 10) / 10;
  return { at, ticks };
}

/** An axis of logarithms, for values above 0. */
export function logScale(values: readonly number[], from: number, to: number): Scale {
  const [low, high] = axisRange(values, 0);
  const powers = Array.from({ length: 25 }, (_, index) => index - 12);
  const all = powers.flatMap((power) => [1, 2, 5].map((factor) => factor * 10 ** power));
  const first = all.findLastIndex((tick) => tick <= low);
  const last = Math.max(
    first + 1,
    all.findIndex((tick) => tick >= high),
  );
  const ticks = all.slice(first, last + 1);
  const [least, most] = [Math.log(ticks[0]!), Math.log(ticks.at(-1)!)];
  const at = (value: number): number => Math.round((from + ((Math.log(value) - least) / (most - least)) * (to - from)) * 10) / 10;
  return { at, ticks };
}

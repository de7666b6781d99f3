// Lines beside a run's own curves, on one axis with them: its parent's before the step where it was forked, and those of the branches
// that rewinds abandoned.
import { interpolated, type Curve } from '../../ui/curve.js';

export interface PaleLine {
  /** Behind the name of the curve that it stands beside: "parent". */
  name: string;
  steps: readonly number[];
  /** By the name of the quantity. */
  values: ReadonlyMap<string, (number | null)[]>;
}

/** The run's own steps, and those of pale lines that lie before or behind them. */
export function allSteps(own: readonly number[], lines: readonly PaleLine[]): { steps: number[]; before: number } {
  const [first, last] = [own[0], own.at(-1)];
  if (first === undefined || last === undefined) return { steps: [], before: 0 };
  const beside = [...new Set(lines.flatMap(({ steps }) => steps))].sort((one, other) => one - other);
  const before = beside.filter((step) => step < first);
  return { steps: [...before, ...own, ...beside.filter((step) => step > last)], before: before.length };
}

/**
 * @param curves the run's own, with a value for each of its own steps
 * @param quantity the one that the pale lines show; they look like the first curve
 * @param before how many of all steps come before the run's own
 */
export function withPaleLines(
  curves: Curve[],
  lines: readonly PaleLine[],
  quantity: string,
  { steps, before }: { steps: number[]; before: number },
): Curve[] {
  const [first] = curves;
  if (first === undefined || lines.length === 0) return curves;
  const nothing = (length: number): null[] => Array.from({ length }, () => null);
  const behind = steps.length - before - first.values.length;
  const placed = (values: (number | null)[]): (number | null)[] => [...nothing(before), ...values, ...nothing(behind)];
  const moved = curves.map((curve) => ({
    ...curve,
    values: placed(curve.values),
    ...(curve.lowest === undefined ? {} : { lowest: placed(curve.lowest) }),
    ...(curve.highest === undefined ? {} : { highest: placed(curve.highest) }),
  }));
  const pale = lines.flatMap(({ name, steps: places, values }): Curve[] => {
    const own = values.get(quantity);
    if (own === undefined || !own.some((value) => value !== null)) return [];
    return [{ label: `${first.label}, ${name}`, tone: first.tone, dash: [], isPale: true, values: interpolated([...places], own, steps) }];
  });
  return [...moved, ...pale];
}

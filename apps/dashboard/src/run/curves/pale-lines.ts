// Pale lines beside a run's own curves, on the same axis: the parent's curve before the step of the fork, and the curves of branches that
// rewinds abandoned.
import { interpolated, type Curve } from '../../ui/charts/curve.js';

export interface PaleLine {
  /** Added to the name of the curve that the line stands beside: "parent". */
  name: string;
  steps: readonly number[];
  /** The values, by the name of the quantity. */
  values: ReadonlyMap<string, (number | null)[]>;
}

/** Returns the run's own steps together with the pale lines' steps before and after them. */
export function allSteps(own: readonly number[], lines: readonly PaleLine[]): { steps: number[]; before: number } {
  const [first, last] = [own[0], own.at(-1)];
  if (first === undefined || last === undefined) return { steps: [], before: 0 };
  const beside = [...new Set(lines.flatMap(({ steps }) => steps))].sort((one, other) => one - other);
  const before = beside.filter((step) => step < first);
  return { steps: [...before, ...own, ...beside.filter((step) => step > last)], before: before.length };
}

/**
 * Adds the pale lines to the curves.
 * @param curves the run's own curves, with a value for each of its own steps
 * @param quantity the quantity that the pale lines show; they have the look of the first curve
 * @param before the number of steps before the run's own
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
    ...(curve.smooth === undefined ? {} : { smooth: placed(curve.smooth) }),
  }));
  const pale = lines.flatMap(({ name, steps: places, values }): Curve[] => {
    const own = values.get(quantity);
    if (own === undefined || !own.some((value) => value !== null)) return [];
    return [{ label: `${first.label}, ${name}`, tone: first.tone, dash: [], isPale: true, values: interpolated([...places], own, steps) }];
  });
  return [...moved, ...pale];
}

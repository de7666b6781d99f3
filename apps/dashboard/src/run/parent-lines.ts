// The curves of a fork go on from its parent's: these are drawn as pale lines before them, on one axis.
import type { Curve } from '../ui/curve.js';

export interface ParentLine {
  steps: readonly number[];
  /** By the name of the quantity. */
  values: ReadonlyMap<string, (number | null)[]>;
}

/** The parent's points before the first of the fork's own. */
export function stepsBefore(parent: ParentLine | undefined, own: readonly number[]): number[] {
  const first = own[0];
  return parent === undefined || first === undefined ? [] : parent.steps.filter((step) => step < first);
}

/**
 * @param curves the fork's own
 * @param quantity the one that the parent's line shows
 * @param before how many of the parent's points come first
 */
export function withParent(curves: Curve[], parent: ParentLine | undefined, quantity: string, before: number): Curve[] {
  if (before === 0) return curves;
  const nothing = (length: number): null[] => Array.from({ length }, () => null);
  const moved = curves.map((curve) => ({
    ...curve,
    values: [...nothing(before), ...curve.values],
    ...(curve.lowest === undefined ? {} : { lowest: [...nothing(before), ...curve.lowest] }),
    ...(curve.highest === undefined ? {} : { highest: [...nothing(before), ...curve.highest] }),
  }));
  const values = parent?.values.get(quantity);
  const [first] = curves;
  if (values === undefined || first === undefined) return moved;
  const line: Curve = {
    label: `${first.label}, parent`,
    tone: first.tone,
    dash: [],
    isPale: true,
    values: [...values.slice(0, before), ...nothing(first.values.length)],
  };
  return [...moved, line];
}

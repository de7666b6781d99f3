// Puts the mean curves of groups, which have the same width of points, on one axis of steps.
import type { MeanCurve } from '../../generated/espalier/v1/history_service_pb.js';
import type { Curve } from '../../ui/charts/curve.js';
import { lookOf } from '../../ui/charts/line-looks.js';
import { counted, NONE, plainNumber } from '../../ui/format.js';

type Group = Pick<MeanCurve, 'values' | 'runs' | 'steps' | 'mean' | 'spread'>;

export function meanLines(groups: readonly Group[]): { x: number[]; curves: Curve[] } {
  const x = [...new Set(groups.flatMap(({ steps }) => steps.map(Number)))].sort((one, other) => one - other);
  const curves = groups.map(({ values, runs, steps, mean, spread }, index): Curve => {
    const places = new Map(steps.map((step, at) => [Number(step), at]));
    const on = (value: (at: number) => number) =>
      x.map((step) => {
        const at = places.get(step);
        return at === undefined ? null : value(at);
      });
    const name = values.length === 0 ? 'all' : values.map((value) => (value === '' ? NONE : plainNumber(value))).join(', ');
    return {
      label: `${name} (${counted(runs, 'run')})`,
      ...lookOf(index),
      values: on((at) => mean[at]!),
      lowest: on((at) => mean[at]! - spread[at]!),
      highest: on((at) => mean[at]! + spread[at]!),
      spans: true,
    };
  });
  return { x, curves };
}

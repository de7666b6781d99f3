// Puts the curves of several runs into one chart.
import type { CurvesOfRun, Range } from '../../run/curves/curve-data.js';
import { isRising, placesOf, X_AXES, type XAxis } from '../../run/curves/x-axis.js';
import { smoothed, type Curve } from '../../ui/charts/curve.js';
import { lookOf } from '../../ui/charts/line-looks.js';
import { clockName, ends } from '../../ui/format.js';
import { meanLine, oneAfterAnother, type Line } from './comparison.js';

export interface RunCurves {
  runId: string;
  tokensPerStep: number;
  /** The first step of each phase. */
  phases: number[];
  curves: CurvesOfRun;
}

/** Runs that share a line. */
export interface GroupOfRuns {
  name: string;
  members: readonly { runId: string; name: string }[];
}

export const axisName = (axis: XAxis, x: readonly number[]): string =>
  axis === 'clock' && x.length > 0 ? clockName(...ends(x)) : X_AXES[axis]!;

/**
 * Puts all curves on one axis. Where a curve has no point of its own, the value between its points is used.
 * @param smoothing the steps over which each run is smoothed; 0: no smoothing
 */
export function overlaid(
  all: readonly RunCurves[],
  groups: readonly GroupOfRuns[],
  quantity: string,
  axis: XAxis,
  smoothing: number,
  range: Range | null,
): { x: number[]; curves: Curve[] } {
  const lineOf = ({ tokensPerStep, phases, curves }: RunCurves): Line & { smooth: Line['values'] } => {
    const mean = curves.curves.find((one) => one.quantity === quantity)?.mean ?? [];
    const steps = curves.steps.map(Number);
    const values = mean.map((value) => (Number.isFinite(value) ? value : null));
    const by = { over: smoothing, phases };
    return { places: placesOf(steps, curves, tokensPerStep, axis), values, smooth: smoothing === 0 ? values : smoothed(values, steps, by) };
  };
  const lines = new Map(all.map((one) => [one.runId, lineOf(one)]));
  if (!isRising(axis)) {
    // A mean over runs needs a common place, and places that rise and fall have none. So each run has a line, with the look of its group.
    const own = groups.flatMap(({ members }, index) =>
      members.map(({ runId, name }) => ({ name, look: lookOf(index), line: lines.get(runId)! })),
    );
    const { x, values } = oneAfterAnother(own.map(({ line }) => line));
    const smooth = oneAfterAnother(own.map(({ line }) => ({ ...line, values: line.smooth }))).values;
    const curves = own.map(({ name, look }, index) => {
      return { label: name, ...look, values: values[index]!, ...(smoothing === 0 ? {} : { smooth: smooth[index]! }) };
    });
    return { x, curves: curves.filter((curve) => curve.values.some((value) => value !== null)) };
  }
  const x = [...new Set([...lines.values()].flatMap(({ places }) => places))]
    .filter((place) => range === null || (place >= range.from && place <= range.to))
    .sort((one, other) => one - other);
  const curves = groups.flatMap(({ name, members }, index): Curve[] => {
    const own = members.flatMap(({ runId }) => lines.get(runId) ?? []).filter(({ values }) => values.some((value) => value !== null));
    if (own.length === 0) return [];
    const { values, lowest, highest } = meanLine(own, x);
    const smooth =
      smoothing === 0
        ? {}
        : {
            smooth: meanLine(
              own.map((line) => ({ ...line, values: line.smooth })),
              x,
            ).values,
          };
    return [{ label: name, ...lookOf(index), values, ...(own.length > 1 ? { lowest, highest } : {}), ...smooth }];
  });
  return { x, curves };
}

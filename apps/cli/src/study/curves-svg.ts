// Draws a study's curves over the steps. Each group has a line for the mean over its seeds, in a band of their standard deviation.
import { decimal } from '../output/format.js';
import { axis, spansMuch } from '#comparison';
import { BOTTOM, colourOf, escaped, framed, HEIGHT, LEFT, legendPlace, legendText, RIGHT, TOP, WIDTH } from './plot-frame.js';

export interface BandPoint {
  step: number;
  mean: number;
  /** The sample standard deviation over the runs; 0 for one run. */
  spread: number;
  n: number;
}
export interface BandLine {
  name: string;
  points: BandPoint[];
}

/**
 * @param curves the curves of runs that differ only by their seed. The result has the steps that all curves have. A value of NaN means no
 * value.
 */
export function bandOf(curves: readonly { steps: readonly number[]; values: readonly number[] }[]): BandPoint[] {
  const byStep = new Map<number, number[]>();
  for (const { steps, values } of curves)
    steps.forEach((step, index) => {
      const value = values[index] ?? NaN;
      if (Number.isFinite(value)) byStep.set(step, [...(byStep.get(step) ?? []), value]);
    });
  return [...byStep]
    .filter(([, values]) => values.length === curves.length)
    .sort(([left], [right]) => left - right)
    .map(([step, values]) => {
      const n = values.length;
      const mean = values.reduce((sum, value) => sum + value, 0) / n;
      const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
      return { step, mean, spread: n > 1 ? Math.sqrt(squares / (n - 1)) : 0, n };
    });
}

export function curvesSvg({ title, quantity, lines }: { title: string; quantity: string; lines: readonly BandLine[] }): string {
  const points = lines.flatMap((line) => line.points);
  const heights = points.flatMap(({ mean, spread }) => [mean - spread, mean + spread]);
  const isLog = spansMuch(heights);
  const x = axis(
    points.map(({ step }) => step),
    LEFT,
    WIDTH - RIGHT,
  );
  const y = axis(heights, HEIGHT - BOTTOM, TOP, { isLog });
  const drawn = lines.map(({ name, points: own }, index) => {
    const colour = colourOf(index);
    const along = (value: (point: BandPoint) => number): string[] => own.map((point) => `${x.at(point.step)},${y.at(value(point))}`);
    const upper = along(({ mean, spread }) => mean + spread);
    const lower = along(({ mean, spread }) => mean - spread).reverse();
    const [legendX, legendY] = legendPlace(index);
    const last = own.at(-1)!;
    const spread = last.n > 1 ? ` ± ${decimal(last.spread)} over ${last.n} runs` : '';
    const about = escaped(`${name}: ${quantity} ${decimal(last.mean)}${spread} at step ${last.step}`);
    const line = along(({ mean }) => mean).join(' ');
    return [
      ...(last.n > 1 ? [`<polygon points="${[...upper, ...lower].join(' ')}" fill="${colour}" fill-opacity="0.2"/>`] : []),
      `<polyline points="${line}" fill="none" stroke="${colour}" stroke-width="1.5"><title>${about}</title></polyline>`,
      `<rect x="${legendX - 5}" y="${legendY - 2}" width="10" height="4" fill="${colour}"/>`,
      legendText(index, name),
    ].join('\n');
  });
  const heading = `${title}: ${quantity}${isLog ? ' (logarithmic)' : ''}`;
  return framed({ title, heading, x, y, xText: 'step (bands: standard deviation over seeds)', xUnit: '' }, drawn);
}

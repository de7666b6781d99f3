// Draws a study: quality against sparsity, with a line for each variant and the spread of its seeds.
import { decimal } from '../output/format.js';
import { axis, LEAST_SPARSITY_POINTS, spansMuch, type StudyLine } from '#comparison';
import { BOTTOM, colourOf, escaped, framed, HEIGHT, LEFT, legendPlace, legendText, RIGHT, TOP, WIDTH } from './plot-frame.js';

type Point = StudyLine['points'][number];

export interface StudyPlot {
  title: string;
  measure: string;
  lines: readonly StudyLine[];
  /** The value of the same measure for the model before pruning. */
  intact: number | undefined;
}

export function studySvg({ title, measure, lines, intact }: StudyPlot): string {
  const points = lines.flatMap((line) => line.points);
  const heights = [
    ...points.flatMap(({ figure: { mean, spread = 0 } }) => [mean - spread, mean + spread]),
    ...(intact === undefined ? [] : [intact]),
  ];
  const isLog = spansMuch(heights);
  const x = axis(
    points.map(({ sparsity }) => sparsity * 100),
    LEFT,
    WIDTH - RIGHT,
    { least: LEAST_SPARSITY_POINTS },
  );
  const y = axis(heights, HEIGHT - BOTTOM, TOP, { isLog });
  const at = ({ sparsity, figure }: Point): [number, number] => [x.at(sparsity * 100), y.at(figure.mean)];
  const drawn = lines.map(({ name, points: own }, index) => {
    const colour = colourOf(index);
    const path = own.map((point) => at(point).join(',')).join(' ');
    return [
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="1.5"/>`,
      ...own.map((point) => bar(point, x.at(point.sparsity * 100), y.at, colour)),
      ...own.map((point) => shape(index, at(point), colour, words(name, measure, point))),
      shape(index, legendPlace(index), colour, ''),
      legendText(index, name),
    ].join('\n');
  });
  const before = intact === undefined ? [] : lineBefore(intact, y.at(intact), intact <= Math.min(...heights));
  const hasBars = points.some(({ figure: { spread = 0 } }) => spread > 0);
  const xText = hasBars ? 'sparsity (bars: standard deviation over seeds)' : 'sparsity';
  const heading = `${title}: ${measure}${isLog ? ' (logarithmic)' : ''}`;
  return framed({ title, heading, x, y, xText, xUnit: '%' }, [...before, ...drawn]);
}

/** Draws the value before pruning. Its words stand below the line where all points are above it and the axis leaves room. */
function lineBefore(intact: number, height: number, isLowest: boolean): string[] {
  const below = height + 14;
  const words = isLowest && below < HEIGHT - BOTTOM ? below : height - 5;
  return [
    `<line x1="${LEFT}" y1="${height}" x2="${WIDTH - RIGHT}" y2="${height}" stroke="#777" stroke-dasharray="4 3"/>`,
    `<text x="${LEFT + 6}" y="${words}" fill="#555">before pruning: ${decimal(intact)}</text>`,
  ];
}

function bar({ figure: { mean, spread = 0 } }: Point, x: number, y: (value: number) => number, colour: string): string {
  if (spread === 0) return '';
  const [low, high] = [y(mean - spread), y(mean + spread)];
  const end = (height: number): string => `M${x - 4},${height}H${x + 4}`;
  return `<path d="M${x},${low}V${high}${end(low)}${end(high)}" fill="none" stroke="${colour}"/>`;
}

function shape(index: number, [x, y]: [number, number], colour: string, title: string): string {
  const inside = title === '' ? '' : `<title>${escaped(title)}</title>`;
  switch (index % 3) {
    case 0:
      return `<circle cx="${x}" cy="${y}" r="4" fill="${colour}">${inside}</circle>`;
    case 1:
      return `<rect x="${x - 3.5}" y="${y - 3.5}" width="7" height="7" fill="${colour}">${inside}</rect>`;
    default:
      return `<path d="M${x},${y - 5}L${x + 5},${y + 4}H${x - 5}Z" fill="${colour}">${inside}</path>`;
  }
}

function words(name: string, measure: string, { sparsity, figure: { mean, spread = 0, n } }: Point): string {
  const spreadWords = n > 1 ? ` ± ${decimal(spread)} over ${n} runs` : '';
  return `${name} at ${(sparsity * 100).toFixed(1)}%: ${measure} ${decimal(mean)}${spreadWords}`;
}

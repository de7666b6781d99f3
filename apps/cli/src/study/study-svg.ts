// A study as a drawing: quality against sparsity, a line for each variant, with the spread of its seeds.
import { decimal } from '../output/format.js';
import { logScale, scale } from '../output/svg-scale.js';
import type { StudyLine } from '#comparison';

const WIDTH = 760;
const HEIGHT = 460;
const LEFT = 70;
const RIGHT = 200;
const TOP = 40;
const BOTTOM = 60;
/** Beyond it values are told apart by their logarithms. */
const LARGEST_LINEAR_RATIO = 8;
const OURS = '<!-- espalier study -->';
/** Told apart also without colours, with the shapes below. */
const COLOURS = ['#1b6ca8', '#b5490f', '#2e7d32', '#7b3fa0', '#00796b', '#a31545', '#5d4037', '#37474f'];

type Point = StudyLine['points'][number];

export interface StudyPlot {
  title: string;
  measure: string;
  lines: readonly StudyLine[];
  /** The same measure of the model before pruning. */
  intact: number | undefined;
}

export function studySvg({ title, measure, lines, intact }: StudyPlot): string {
  const points = lines.flatMap((line) => line.points);
  const heights = [
    ...points.flatMap(({ figure: { mean, spread = 0 } }) => [mean - spread, mean + spread]),
    ...(intact === undefined ? [] : [intact]),
  ];
  const positive = heights.every((value) => value > 0);
  const isLog = positive && Math.max(...heights) / Math.min(...heights) > LARGEST_LINEAR_RATIO;
  const x = scale(
    points.map(({ sparsity }) => sparsity * 100),
    LEFT,
    WIDTH - RIGHT,
  );
  const y = (isLog ? logScale : scale)(heights, HEIGHT - BOTTOM, TOP);
  const at = ({ sparsity, figure }: Point): [number, number] => [x.at(sparsity * 100), y.at(figure.mean)];
  const grid = [
    ...x.ticks.map(
      (value) =>
        `<line x1="${x.at(value)}" y1="${TOP}" x2="${x.at(value)}" y2="${HEIGHT - BOTTOM}" stroke="#eee"/>` +
        `<text x="${x.at(value)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${Number(value.toFixed(6))}%</text>`,
    ),
    ...y.ticks.map(
      (value) =>
        `<line x1="${LEFT}" y1="${y.at(value)}" x2="${WIDTH - RIGHT}" y2="${y.at(value)}" stroke="#eee"/>` +
        `<text x="${LEFT - 8}" y="${y.at(value) + 4}" text-anchor="end">${Number(value.toPrecision(4))}</text>`,
    ),
  ];
  const drawn = lines.map(({ name, points: own }, index) => {
    const colour = COLOURS[index % COLOURS.length]!;
    const path = own.map((point) => at(point).join(',')).join(' ');
    return [
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="1.5"/>`,
      ...own.map((point) => bar(point, x.at(point.sparsity * 100), y.at, colour)),
      ...own.map((point) => shape(index, at(point), colour, words(name, measure, point))),
      shape(index, [WIDTH - RIGHT + 20, TOP + 10 + 20 * index], colour, ''),
      `<text x="${WIDTH - RIGHT + 32}" y="${TOP + 14 + 20 * index}">${escaped(shortened(name))}<title>${escaped(name)}</title></text>`,
    ].join('\n');
  });
  const before =
    intact === undefined
      ? []
      : [
          `<line x1="${LEFT}" y1="${y.at(intact)}" x2="${WIDTH - RIGHT}" y2="${y.at(intact)}" stroke="#777" stroke-dasharray="4 3"/>`,
          `<text x="${LEFT + 6}" y="${y.at(intact) - 5}" fill="#555">before pruning: ${decimal(intact)}</text>`,
        ];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    OURS,
    `<title>${escaped(title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    ...grid,
    ...before,
    ...drawn,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 16}" text-anchor="middle">sparsity (bars: standard deviation over seeds)</text>`,
    `<text x="${LEFT}" y="20">${escaped(`${title}: ${measure}${isLog ? ' (logarithmic)' : ''}`)}</text>`,
    '</svg>',
    '',
  ].join('\n');
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

const LONGEST_LABEL = 26;
const shortened = (name: string): string => (name.length > LONGEST_LABEL ? `${name.slice(0, LONGEST_LABEL - 1)}…` : name);
const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** Whether a file that begins so is a drawing of ours, which may be replaced. */
export function isStudySvg(head: Buffer): boolean {
  return head.toString('utf8').includes(OURS);
}

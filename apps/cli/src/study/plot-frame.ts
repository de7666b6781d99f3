// The frame of a study's drawings: the axes and the legend.
import type { Axis } from '#comparison';

export const WIDTH = 760;
export const HEIGHT = 460;
export const LEFT = 70;
export const RIGHT = 200;
export const TOP = 40;
export const BOTTOM = 60;
const OURS = '<!-- espalier study -->';
const COLOURS = ['#1b6ca8', '#b5490f', '#2e7d32', '#7b3fa0', '#00796b', '#a31545', '#5d4037', '#37474f'];
const LONGEST_LABEL = 26;
const LABEL_HEAD = 8;

export const colourOf = (index: number): string => COLOURS[index % COLOURS.length]!;
/** Shortens a name in its middle, because names differ at their ends. */
const shortened = (name: string): string =>
  name.length > LONGEST_LABEL ? `${name.slice(0, LABEL_HEAD)}…${name.slice(LABEL_HEAD + 1 - LONGEST_LABEL)}` : name;
export const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

export const legendPlace = (index: number): [number, number] => [WIDTH - RIGHT + 20, TOP + 10 + 20 * index];

export function legendText(index: number, name: string): string {
  const [x, y] = legendPlace(index);
  return `<text x="${x + 12}" y="${y + 4}">${escaped(shortened(name))}<title>${escaped(name)}</title></text>`;
}

export interface Frame {
  title: string;
  heading: string;
  x: Axis;
  y: Axis;
  xText: string;
  xUnit: string;
}

export function framed({ title, heading, x, y, xText, xUnit }: Frame, drawn: readonly string[]): string {
  const grid = [
    ...x.ticks.map(
      (value) =>
        `<line x1="${x.at(value)}" y1="${TOP}" x2="${x.at(value)}" y2="${HEIGHT - BOTTOM}" stroke="#eee"/>` +
        `<text x="${x.at(value)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${Number(value.toFixed(6))}${xUnit}</text>`,
    ),
    ...y.ticks.map(
      (value) =>
        `<line x1="${LEFT}" y1="${y.at(value)}" x2="${WIDTH - RIGHT}" y2="${y.at(value)}" stroke="#eee"/>` +
        `<text x="${LEFT - 8}" y="${y.at(value) + 4}" text-anchor="end">${Number(value.toPrecision(4))}</text>`,
    ),
  ];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    OURS,
    `<title>${escaped(title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    ...grid,
    ...drawn,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 16}" text-anchor="middle">${escaped(xText)}</text>`,
    `<text x="${LEFT}" y="20">${escaped(heading)}</text>`,
    '</svg>',
    '',
  ].join('\n');
}

/** Tells whether a file with this beginning is a drawing by Espalier, which may be replaced. */
export function isStudySvg(head: Buffer): boolean {
  return head.toString('utf8').includes(OURS);
}

// Writes a chart as an SVG file, in the light theme's colours, for papers and slides.
import type { ChartMark, Curve, XLook } from './curve.js';
import { clockTicksWithin, ticksWithin, withEnd } from './ticks.js';

export const [SVG_WIDTH, SVG_HEIGHT] = [900, 460];
const [LEFT, RIGHT, BOTTOM] = [84, 24, 58];
const COLORS = ['#17695a', '#c2571a', '#3b62c4', '#8d3f97', '#7a6a00', '#b02a4c'];
const colourOf = (tone: number): string => COLORS[(tone - 1) % COLORS.length] ?? MARK_COLOR;
const MARK_COLOR = '#8a938e';
/** The approximate width of a letter. */
const LETTER = 6.6;
const MARK_LETTER = 5.8;
const [LEGEND_TOP, LEGEND_LINE, KEY] = [58, 18, 26];

export interface Drawing {
  title: string;
  /** Whose values these are: the names and ids of runs. */
  source: string;
  xName: string;
  yName: string;
  xWords: (value: number) => string;
  yWords: (value: number) => string;
  x: number[];
  curves: Curve[];
  marks?: ChartMark[];
  log: boolean;
  xLook?: XLook;
}

export function toSvg(drawing: Drawing): string {
  const { title, source, curves, log, marks = [] } = drawing;
  const x = drawing.x;
  const places = x.filter((place) => !Number.isNaN(place));
  const legend = legendOf(curves);
  const top = LEGEND_TOP + legend.lines * LEGEND_LINE;
  const scaled = (value: number): number => (log ? Math.log10(value) : value);
  const [low, high] = padded(knownOf(curves, log).map(scaled));
  const [first, last] = padded(places, 0);
  const px = (value: number): number => LEFT + ((value - first) / (last - first)) * (SVG_WIDTH - LEFT - RIGHT);
  const py = (value: number): number => SVG_HEIGHT - BOTTOM - ((scaled(value) - low) / (high - low)) * (SVG_HEIGHT - top - BOTTOM);
  const shapes = curves.map((curve) => shapeOf(curve, x, log, px, py));
  const y: [number, number] = log ? [10 ** low, 10 ** high] : [low, high];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${SVG_WIDTH}" height="${SVG_HEIGHT}" viewBox="0 0 ${SVG_WIDTH} ${SVG_HEIGHT}" ` +
    'font-family="sans-serif" font-size="13" fill="#3a443f">' +
    `<rect width="${SVG_WIDTH}" height="${SVG_HEIGHT}" fill="#fff"/>` +
    `<text x="${LEFT}" y="22" font-size="16" font-weight="bold">${escaped(title)}</text>` +
    `<text x="${LEFT}" y="40" font-size="11">${escaped(cut(source))}</text>${legend.text}` +
    gridOf(drawing, xTicksOf(drawing, first, last), ticksWithin(...y, log), {
      px,
      py,
      top,
    }) +
    `<clipPath id="inside"><rect x="${LEFT}" y="${top}" width="${SVG_WIDTH - LEFT - RIGHT}" ` +
    `height="${SVG_HEIGHT - top - BOTTOM}"/></clipPath>` +
    `<g clip-path="url(#inside)">${marksOf(marks, { px, first, last, top })}${shapes.join('')}</g></svg>\n`
  );
}

function xTicksOf({ xLook = 'count' }: Drawing, first: number, last: number): number[] {
  if (xLook === 'clock') return clockTicksWithin(first, last);
  const round = ticksWithin(first, last, false);
  const [one = first, other = last] = round;
  return xLook === 'count' && Number.isInteger(last) ? withEnd(round, last, other - one) : round;
}

const isShown = (value: number | null, log: boolean): value is number => value !== null && Number.isFinite(value) && (!log || value > 0);

function knownOf(curves: Curve[], log: boolean): number[] {
  return curves
    .flatMap(({ values, lowest, highest }) => [...values, ...(lowest ?? []), ...(highest ?? [])])
    .filter((value): value is number => isShown(value, log));
}

function shapeOf(curve: Curve, x: number[], log: boolean, px: (value: number) => number, py: (value: number) => number): string {
  const { tone, dash, values, lowest, highest, spans, isPale } = curve;
  const stroke = colourOf(tone);
  const place = (value: number, index: number): string => `${px(x[index]!).toFixed(1)} ${py(value).toFixed(1)}`;
  let isDown = false;
  const line = values
    .map((value, index) => {
      if (Number.isNaN(x[index]!)) return ''; // a point without a place is passed by
      if (!isShown(value, log)) {
        // A curve with `spans` has few values, so its line goes on to the next value.
        isDown &&= spans === true;
        return '';
      }
      const command = isDown ? 'L' : 'M';
      isDown = true;
      return command + place(value, index);
    })
    .join('');
  const dashes = dash.length === 0 ? '' : ` stroke-dasharray="${dash.join(' ')}"`;
  const opacity = isPale === true ? ' stroke-opacity=".4"' : '';
  const band =
    lowest === undefined || highest === undefined ? '' : `<path d="${bandOf(lowest, highest)}" fill="${stroke}" fill-opacity=".15"/>`;
  return `${band}<path d="${line}" fill="none" stroke="${stroke}" stroke-width="1.8"${dashes}${opacity}/>`;

  function bandOf(under: (number | null)[], over: (number | null)[]): string {
    const known = x.flatMap((_, index) => {
      const [down, up] = [under[index] ?? null, over[index] ?? null];
      return isShown(down, log) && isShown(up, log) ? [{ up: place(up, index), down: place(down, index) }] : [];
    });
    return known.length === 0 ? '' : `M${[...known.map(({ up }) => up), ...known.reverse().map(({ down }) => down)].join('L')}Z`;
  }
}

interface Places {
  px: (value: number) => number;
  py: (value: number) => number;
  top: number;
}

function gridOf({ xName, yName, xWords, yWords }: Drawing, xTicks: number[], yTicks: number[], { px, py, top }: Places): string {
  const bottom = SVG_HEIGHT - BOTTOM;
  const across = yTicks.map((value) => {
    const y = py(value).toFixed(1);
    return (
      `<line x1="${LEFT}" x2="${SVG_WIDTH - RIGHT}" y1="${y}" y2="${y}" stroke="#e3e6e4"/>` +
      `<text x="${LEFT - 8}" y="${(py(value) + 4).toFixed(1)}" text-anchor="end">${escaped(yWords(value))}</text>`
    );
  });
  const down = xTicks.map((value) => {
    const x = px(value).toFixed(1);
    return (
      `<line x1="${x}" x2="${x}" y1="${top}" y2="${bottom}" stroke="#eef0ee"/>` +
      `<text x="${x}" y="${bottom + 18}" text-anchor="middle">${escaped(xWords(value))}</text>`
    );
  });
  const middle = (top + bottom) / 2;
  return (
    `${down.join('')}${across.join('')}<path d="M${LEFT} ${top}V${bottom}H${SVG_WIDTH - RIGHT}" fill="none" stroke="#8a938e"/>` +
    `<text x="${(LEFT + SVG_WIDTH - RIGHT) / 2}" y="${SVG_HEIGHT - 14}" text-anchor="middle">${escaped(xName)}</text>` +
    `<text transform="translate(18 ${middle}) rotate(-90)" text-anchor="middle">${escaped(yName)}</text>`
  );
}

/**
 * Draws the marks. A change of teacher is a short stroke at the top, since there may be hundreds. Other marks are dashed lines with words.
 */
function marksOf(
  marks: ChartMark[],
  { px, first, last, top }: { px: (x: number) => number; first: number; last: number; top: number },
): string {
  /** The end of the words in each line. Words that would stand over others go to the next line. */
  const ends: number[] = [];
  return marks
    .filter(({ x }) => x >= first && x <= last)
    .map(({ x, kind, words }) => {
      const at = px(x);
      if (kind === 'teacher') return `<path d="M${at.toFixed(1)} ${top}v7" stroke="${MARK_COLOR}"/>`;
      const width = words.length * MARK_LETTER;
      const isBefore = at + 4 + width > SVG_WIDTH - RIGHT; // there is no room behind the line
      const from = isBefore ? at - 4 - width : at + 4;
      const free = ends.findIndex((end) => end < from);
      const line = free < 0 ? ends.length : free;
      ends[line] = from + width;
      return (
        `<path d="M${at.toFixed(1)} ${top}V${SVG_HEIGHT - BOTTOM}" stroke="${MARK_COLOR}" stroke-dasharray="3 3"/>` +
        `<text x="${(isBefore ? at - 4 : at + 4).toFixed(1)}" y="${top + 20 + line * 14}" font-size="11" ` +
        `text-anchor="${isBefore ? 'end' : 'start'}">${escaped(words)}</text>`
      );
    })
    .join('');
}

/** Shortens the names of many runs to what a line holds. */
function cut(source: string): string {
  const most = Math.floor((SVG_WIDTH - LEFT - RIGHT) / 6);
  return source.length > most ? `${source.slice(0, most - 2)} …` : source;
}

function legendOf(curves: Curve[]): { text: string; lines: number } {
  let [x, line] = [LEFT, 0];
  const parts = curves.map(({ label, tone, dash }) => {
    const width = KEY + label.length * LETTER + 18;
    if (x > LEFT && x + width > SVG_WIDTH - RIGHT) [x, line] = [LEFT, line + 1];
    const [at, y] = [x, LEGEND_TOP + line * LEGEND_LINE];
    x += width;
    const dashes = dash.length === 0 ? '' : ` stroke-dasharray="${dash.join(' ')}"`;
    return (
      `<path d="M${at} ${y - 4}h${KEY - 6}" stroke="${colourOf(tone)}" stroke-width="2"${dashes}/>` +
      `<text x="${at + KEY}" y="${y}">${escaped(label)}</text>`
    );
  });
  return { text: parts.join(''), lines: line + 1 };
}

function padded(values: number[], share = 0.04): [low: number, high: number] {
  const low = values.reduce((one, other) => Math.min(one, other), Infinity);
  const high = values.reduce((one, other) => Math.max(one, other), -Infinity);
  if (!Number.isFinite(low)) return [0, 1];
  const pad = high === low ? Math.abs(high) || 1 : (high - low) * share;
  return high === low ? [low - pad / 2, high + pad / 2] : [low - pad, high + pad];
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

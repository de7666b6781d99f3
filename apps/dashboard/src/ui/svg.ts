// A chart as an SVG file, in the light theme's colours: for papers and slides.
import type { Curve } from './curve.js';

const [WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM] = [900, 420, 76, 44, 24, 44];
const COLORS = ['#17695a', '#c2571a', '#3b62c4', '#8d3f97', '#7a6a00', '#b02a4c'];

interface Drawing {
  title: string;
  unit: string | undefined;
  x: number[];
  curves: Curve[];
  log: boolean;
  words: (value: number) => string;
}

export function toSvg({ title, unit, x, curves, log, words }: Drawing): string {
  const known = curves.flatMap(({ values, lowest, highest }) => [...values, ...(lowest ?? []), ...(highest ?? [])]).filter(isShown);
  function isShown(value: number | null): value is number {
    return value !== null && Number.isFinite(value) && (!log || value > 0);
  }
  const scaled = (value: number): number => (log ? Math.log10(value) : value);
  const [low, high] = padded(known.map(scaled));
  const [first, last] = padded([x[0] ?? 0, x.at(-1) ?? 1], 0);
  const px = (value: number): number => LEFT + ((value - first) / (last - first)) * (WIDTH - LEFT - RIGHT);
  const py = (value: number): number => HEIGHT - BOTTOM - ((scaled(value) - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const path = (values: (number | null)[]): string => {
    let isDown = false;
    return values
      .map((value, index) => {
        if (!isShown(value)) {
          isDown = false;
          return '';
        }
        const command = isDown ? 'L' : 'M';
        isDown = true;
        return `${command}${px(x[index]!).toFixed(1)} ${py(value).toFixed(1)}`;
      })
      .join('');
  };
  const shapes = curves.map(({ tone, values, lowest, highest, dashed }) => {
    const stroke = COLORS[(tone - 1) % COLORS.length]!;
    const band =
      lowest === undefined || highest === undefined
        ? ''
        : `<path d="${[highest, lowest].map(path).join('')}" fill="none" stroke="${stroke}" stroke-opacity=".25"/>`;
    const dash = dashed === true ? ' stroke-dasharray="6 4"' : '';
    return `${band}<path d="${path(values)}" fill="none" stroke="${stroke}" stroke-width="1.8"${dash}/>`;
  });
  const ticks = Array.from({ length: 5 }, (_, index) => index / 4);
  const grid = ticks.map((share) => {
    const value = low + (high - low) * share;
    const y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
    const at = first + (last - first) * share;
    return (
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}" stroke="#e3e6e4"/>` +
      `<text x="${LEFT - 8}" y="${y + 4}" text-anchor="end">${escaped(words(log ? 10 ** value : value))}</text>` +
      `<text x="${px(at).toFixed(1)}" y="${HEIGHT - BOTTOM + 20}" text-anchor="middle">${escaped(String(Math.round(at)))}</text>`
    );
  });
  const legend = curves.map(
    ({ label, tone }, index) => `<tspan x="${LEFT + index * 190}" fill="${COLORS[(tone - 1) % COLORS.length]!}">${escaped(label)}</tspan>`,
  );
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" fill="#3a443f">` +
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>` +
    `<text x="${LEFT}" y="16" font-size="14" font-weight="bold">${escaped(title + (unit === undefined ? '' : ` (${unit})`))}</text>` +
    `<text y="34">${legend.join('')}</text>${grid.join('')}${shapes.join('')}</svg>\n`
  );
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

// Draws points with lines between them, with a bar for the spread of each. It is for few values, and each has a title.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { axis, spansMuch, type Axis } from '../../../../../libs/comparison/src/index.js';
import { download } from '../save-file.js';
import { downloadPng } from './chart-files.js';
import { tick } from '../format.js';
import { Scroll } from '../scroll.js';
import { Anchor } from '../router.js';
import { useUnitsAcross } from '../use-width.js';
import { Brush, type Area } from './brush.js';
import { lookOf, paintOf } from './line-looks.js';

const [LEAST_WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM] = [900, 400, 74, 16, 24, 46];
const PIXELS_PER_UNIT = 1.22;
const LIGHT: Record<string, string> = {
  surface: '#ffffff',
  text: '#17201c',
  'text-soft': '#55605a',
  grid: '#e6e9e7',
  'line-strong': '#8a938e',
  'curve-1': '#17695a',
  'curve-2': '#c2571a',
  'curve-3': '#3b62c4',
  'curve-4': '#8d3f97',
  'curve-5': '#7a6a00',
  'curve-6': '#b02a4c',
};

export interface ScatterPoint {
  x: number;
  y: number;
  spread?: number;
  title: string;
  /** A text written beside the point. */
  label?: string;
  /** The point is not on the line. */
  isAside?: boolean;
  /** The address that the point leads to. */
  to?: string;
}
export interface ScatterLine {
  name: string;
  points: ScatterPoint[];
}

interface Props {
  title: string;
  about?: string;
  /** `least` is the least span of the axis; `isLog` makes it logarithmic where its values span much. */
  x: { name: string; words: (value: number) => string; least?: number; isLog?: boolean };
  y: { name: string; words?: (value: number) => string };
  lines: ScatterLine[];
  /** Whose values these are, for the files. */
  source: string;
  reference?: { y: number; label: string } | undefined;
  /** The points have no order: no line joins them. */
  isLoose?: boolean;
  /** A reader has marked an area, from its lowest to its highest values. */
  brushed?: (area: Area) => void;
}

export function Scatter({ title, about, x: xAxis, y: yAxis, lines, source, reference, isLoose = false, brushed }: Props) {
  const { across: width, measured: svg } = useUnitsAcross(LEAST_WIDTH, PIXELS_PER_UNIT);
  const [hidden, setHidden] = useState<string[]>([]);
  const points = lines.flatMap((line) => line.points);
  const heights = [...points.flatMap(({ y, spread = 0 }) => [y - spread, y + spread]), ...(reference === undefined ? [] : [reference.y])];
  const isLog = spansMuch(heights);
  const x = axis(
    points.map((point) => point.x),
    LEFT,
    width - RIGHT,
    { least: xAxis.least, isLog: xAxis.isLog === true && spansMuch(points.map((point) => point.x)) },
  );
  const y = axis(heights, HEIGHT - BOTTOM, TOP, { isLog });
  const file = (): { svg: string; height: number } => standing(svg.current!, width, title, source);
  const csv = (): string =>
    [
      `line,${xAxis.name},${yAxis.name},spread`,
      ...lines.flatMap(({ name, points: own }) =>
        own.map((point) => `"${name.replace(/^([=+\-@\t\r])/, "'$1").replaceAll('"', '""')}",${point.x},${point.y},${point.spread ?? ''}`),
      ),
      '',
    ].join('\r\n');
  return (
    <section class="card chart" aria-label={title}>
      <header>
        <h2>{title}</h2>
        <span class="soft">
          {about}
          {isLog && ' (logarithmic)'}
        </span>
        <span class="tools">
          <button class="plain" onClick={() => download(`${title}.svg`, 'image/svg+xml', file().svg)} aria-label={`SVG of ${title}`}>
            SVG
          </button>
          <button
            class="plain"
            onClick={() => void downloadPng(`${title}.png`, file().svg, width, file().height)}
            aria-label={`PNG of ${title}`}
          >
            PNG
          </button>
          <button class="plain" onClick={() => download(`${title}.csv`, 'text/csv', csv())} aria-label={`CSV of ${title}`}>
            CSV
          </button>
        </span>
      </header>
      <Scroll label={title}>
        <svg ref={svg} class="scatter" viewBox={`0 0 ${width} ${HEIGHT}`} role="group" aria-label={`${yAxis.name} against ${xAxis.name}`}>
          <Grid width={width} x={x} y={y} xAxis={xAxis} yAxis={yAxis} reference={reference} />
          {brushed !== undefined && (
            <Brush
              area={{ x: [LEFT, width - RIGHT], y: [TOP, HEIGHT - BOTTOM] }}
              done={({ x: [left, right], y: [top, bottom] }) =>
                brushed({ x: [x.valueAt(left), x.valueAt(right)], y: [y.valueAt(bottom), y.valueAt(top)] })
              }
            />
          )}
          {lines.map((line, index) =>
            hidden.includes(line.name) ? null : (
              <Line
                key={line.name}
                line={line}
                index={index}
                isLoose={isLoose}
                x={(value) => x.at(value) + (isLoose ? 0 : apart(index, lines.length))}
                y={y.at}
              />
            ),
          )}
          {reference !== undefined && (
            // It stands in front of the points, with a rim in the colour of the ground, so that they don't cross it out.
            <text
              class="reference"
              x={LEFT + 8}
              y={y.at(reference.y) - 6}
              fill="var(--text)"
              paint-order="stroke"
              stroke="var(--surface)"
              stroke-width="5"
              pointer-events="none"
            >
              {reference.label}
            </text>
          )}
        </svg>
        {lines.length > 1 && (
          <p class="legend">
            {lines.map(({ name }, index) => (
              <button
                key={name}
                class="plain"
                aria-pressed={!hidden.includes(name)}
                title="shows or hides this line"
                onClick={() => setHidden((before) => (before.includes(name) ? before.filter((one) => one !== name) : [...before, name]))}
              >
                <svg class="mark" viewBox="-8 -8 16 16" aria-hidden="true">
                  <Mark index={index} x={0} y={0} />
                </svg>{' '}
                {name}
              </button>
            ))}
          </p>
        )}
      </Scroll>
    </section>
  );
}

type GridProps = { width: number; x: Axis; y: Axis; xAxis: Props['x']; yAxis: Props['y']; reference: Props['reference'] };

function Grid({ width, x, y, xAxis, yAxis: { name, words = tick }, reference }: GridProps) {
  return (
    <>
      {x.ticks.map((value) => (
        <g key={value}>
          <line x1={x.at(value)} x2={x.at(value)} y1={TOP} y2={HEIGHT - BOTTOM} stroke="var(--grid)" />
          <text x={x.at(value)} y={HEIGHT - BOTTOM + 20} text-anchor="middle" fill="var(--text-soft)">
            {xAxis.words(value)}
          </text>
        </g>
      ))}
      {y.ticks.map((value) => (
        <g key={value}>
          <line x1={LEFT} x2={width - RIGHT} y1={y.at(value)} y2={y.at(value)} stroke="var(--grid)" />
          <text x={LEFT - 8} y={y.at(value) + 4} text-anchor="end" fill="var(--text-soft)">
            {words(value)}
          </text>
        </g>
      ))}
      <text x={(LEFT + width - RIGHT) / 2} y={HEIGHT - 8} text-anchor="middle" fill="var(--text-soft)">
        {xAxis.name}
      </text>
      <text transform={`translate(14 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)`} text-anchor="middle" fill="var(--text-soft)">
        {name}
      </text>
      {reference !== undefined && (
        <line
          x1={LEFT}
          x2={width - RIGHT}
          y1={y.at(reference.y)}
          y2={y.at(reference.y)}
          stroke="var(--line-strong)"
          stroke-dasharray="5 4"
        />
      )}
    </>
  );
}

/** Points of several lines at the same place are drawn side by side, so that none hides another. */
const MOST_APART = 44;
const apart = (index: number, lines: number): number => (index - (lines - 1) / 2) * Math.min(9, MOST_APART / Math.max(1, lines));

interface LineProps {
  line: ScatterLine;
  index: number;
  isLoose: boolean;
  x: (value: number) => number;
  y: (value: number) => number;
}

function Line({ line, index, isLoose, x, y }: LineProps) {
  const tone = paintOf(index);
  const path = line.points.filter(({ isAside }) => isAside !== true).map((point) => `${x(point.x)} ${y(point.y)}`);
  return (
    <g>
      {path.length > 1 && !isLoose && (
        <path d={`M${path.join('L')}`} fill="none" stroke={tone} stroke-width="1.8" stroke-dasharray={lookOf(index).dash.join(' ')} />
      )}
      {line.points.map((point) => {
        const [px, py, { spread = 0 }] = [x(point.x), y(point.y), point];
        const [low, high] = [y(point.y - spread), y(point.y + spread)];
        return (
          <g key={`${point.x} ${point.y} ${point.title}`}>
            {spread > 0 && <path d={`M${px} ${low}V${high}M${px - 5} ${low}h10M${px - 5} ${high}h10`} stroke={tone} fill="none" />}
            <Linked to={point.to}>
              <Mark index={index} x={px} y={py} title={point.title} isAside={point.isAside === true} />
            </Linked>
            {point.label !== undefined && (
              <text x={px} y={py - 10} text-anchor="middle" fill="var(--text)">
                {point.label}
              </text>
            )}
          </g>
        );
      })}
    </g>
  );
}

function Linked({ to, children }: { to: string | undefined; children: ComponentChildren }) {
  if (to === undefined) return <>{children}</>;
  return (
    <Anchor to={to} tabIndex={-1}>
      {children}
    </Anchor>
  );
}

/** A point, whose shape tells its line apart without colours too. */
function Mark({ index, x, y, title = '', isAside = false }: { index: number; x: number; y: number; title?: string; isAside?: boolean }) {
  const paint = isAside ? { fill: 'var(--surface)', stroke: 'var(--line-strong)' } : { fill: paintOf(index) };
  const inside = title === '' ? null : <title>{title}</title>;
  return (
    <path d={`M${x} ${y}${SHAPES[index % SHAPES.length]!}`} {...paint}>
      {inside}
    </path>
  );
}

/** As many shapes as colours, each around the point: disc, square, triangle, diamond, triangle on its tip, cross. */
const SHAPES = [
  'm-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z',
  'm-4.5 -4.5h9v9h-9z',
  'm0 -6l6 11h-12z',
  'm0 -6.5l5.5 6.5l-5.5 6.5l-5.5 -6.5z',
  'm0 6l6 -11h-12z',
  'm-1.75 -5.5h3.5v3.75h3.75v3.5h-3.75v3.75h-3.5v-3.75h-3.75v-3.5h3.75z',
];

const [FILE_TOP, FILE_LEGEND, LETTER, KEY] = [58, 20, 7, 30];
const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** Returns the drawing as a file of its own: with title, source and legend, in the light theme's colours. */
function standing(element: SVGSVGElement, width: number, title: string, source: string): { svg: string; height: number } {
  const copy = element.cloneNode(true) as SVGSVGElement;
  copy.removeAttribute('class');
  for (const brush of copy.querySelectorAll('.brush')) brush.remove();
  for (const link of copy.querySelectorAll('a')) link.replaceWith(...link.childNodes);
  let [x, line] = [LEFT, 0];
  const legend = [...element.closest('section')!.querySelectorAll('.legend button[aria-pressed=true]')].map((button) => {
    const name = button.textContent.trim();
    const own = KEY + name.length * LETTER;
    if (x > LEFT && x + own > width - RIGHT) [x, line] = [LEFT, line + 1];
    const at = `translate(${x + 8} ${FILE_TOP + line * FILE_LEGEND - 4})`;
    x += own;
    return `<g transform="${at}">${button.querySelector('svg')!.innerHTML}<text x="12" y="4">${escaped(name)}</text></g>`;
  });
  const top = FILE_TOP + (legend.length === 0 ? 0 : (line + 1) * FILE_LEGEND);
  const height = top + HEIGHT;
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
    `font-family="sans-serif" ` +
    `font-size="12" fill="#17201c"><rect width="${width}" height="${height}" fill="#fff"/>` +
    `<text x="${LEFT}" y="22" font-size="16" font-weight="bold">${escaped(title)}</text>` +
    `<text x="${LEFT}" y="40" font-size="11">${escaped(source)}</text>${legend.join('')}` +
    `<g transform="translate(0 ${top})">${copy.innerHTML}</g></svg>`;
  return { svg: svg.replaceAll(/var\(--([\w-]+)\)/g, (_, name: string) => LIGHT[name] ?? '#000'), height };
}

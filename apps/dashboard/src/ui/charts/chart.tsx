// A chart: curves with a band between their lowest and highest values. It can be zoomed by dragging, and its data can be downloaded.
import uPlot from 'uplot';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { SVG_HEIGHT, SVG_WIDTH, toSvg } from './chart-svg.js';
import type { ChartMark, Curve } from './curve.js';
import { download } from '../save-file.js';
import { downloadPng, toCsv } from './chart-files.js';
import { clock, clockTick, count, countTick, decimal, NONE, percent, percentTick, tick } from '../format.js';
import { lastPointOf, legendValue } from './legend-values.js';
import type { Look } from './line-looks.js';
import { optionsOf } from './plot-options.js';
import type { SharedCursor } from './shared-cursor.js';
import { color, useTheme } from '../theme.js';

export interface ChartProps {
  title: string;
  /** The words beside the axis, with the unit. */
  yName: string;
  /** The values are shares. */
  isShare?: boolean;
  x: number[];
  xName: string;
  /** x is in seconds since 1970. */
  isClock?: boolean;
  curves: Curve[];
  marks?: ChartMark[];
  log?: boolean;
  /** How the smoothed lines were made; '' where there are none. */
  smoothing?: string;
  /** All charts that share this cursor point at the same place. */
  cursor: SharedCursor;
  onZoom?: (range: { from: number; to: number } | null) => void;
  fileName: string;
}

export function Chart(props: ChartProps) {
  const { title, yName, xName, isClock = false, isShare = false, x, curves, marks = [], log = false, cursor, fileName } = props;
  const { smoothing = '' } = props;
  const words = isShare ? percent : decimal;
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = useTheme();
  const [pointed, setPointed] = useState<number | null>(cursor.index);
  const yTicks = isShare ? percentTick : tick;
  const xTicks = isClock ? clockTick : countTick;
  const now = { xName, yName, isClock, xTicks, yTicks, curves, marks, onZoom: props.onZoom };
  const latest = useRef(now);
  latest.current = now;
  const data = useMemo(() => dataOf(x, curves, log), [x, curves, log]);
  const looks = curves.map((curve) => lookText(curve));
  const shape = `${looks.join('|')} ${xName} ${isClock} ${log} ${theme}`;

  useEffect(() => {
    const place = holder.current!;
    const size = (): { width: number; height: number } => ({ width: place.clientWidth - 16, height: place.clientHeight - 12 });
    const made = new uPlot(
      optionsOf(size(), latest, log, (index) => cursor.set(index)),
      data,
      place,
    );
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize(size()));
    resized.observe(place);
    const deaf = cursor.listen((index) => {
      setPointed(index);
      if ((made.cursor.idx ?? null) === index) return;
      const at = index === null ? undefined : made.data[0][index];
      if (at === undefined) made.setCursor({ left: -10, top: -10 }, false);
      else made.setCursor({ left: made.valToPos(at, 'x'), top: -10 }, false);
    });
    return () => {
      deaf();
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape, cursor]);
  useEffect(() => plot.current?.setData(data), [data]);
  useEffect(() => plot.current?.redraw(false), [marks]);

  const drawing = (): string => toSvg({ title, xName, isClock, yName, x, curves, marks, log, xWords: xTicks, yWords: yTicks });
  const at = { curves, pointed, words, placeWords: (index: number): string => placeOf(x[index]!, isClock) };
  const ends = curves
    .filter(({ isPale }) => isPale !== true)
    .map((curve) => `${curve.label} ${valueWords(curve, { ...at, pointed: null })}`);
  return (
    <section class="card chart" aria-label={title}>
      <header>
        <h2>{title}</h2>
        <span class="tools">
          <button
            class="plain"
            onClick={() => download(`${fileName}.csv`, 'text/csv', toCsv(x, curves, isClock ? 'seconds since 1970' : xName))}
            aria-label={`CSV of ${title}`}
          >
            CSV
          </button>
          <button class="plain" onClick={() => download(`${fileName}.svg`, 'image/svg+xml', drawing())} aria-label={`SVG of ${title}`}>
            SVG
          </button>
          <button
            class="plain"
            onClick={() => void downloadPng(`${fileName}.png`, drawing(), SVG_WIDTH, SVG_HEIGHT)}
            aria-label={`PNG of ${title}`}
          >
            PNG
          </button>
        </span>
      </header>
      <Legend {...at} smoothing={smoothing} />
      <div
        class="plot"
        ref={holder}
        role="img"
        aria-label={`${title}: ${ends.join(', ')} at the end`}
        onDblClick={() => props.onZoom?.(null)}
      />
    </section>
  );
}

interface LegendProps {
  curves: Curve[];
  /** The index of the place that a reader points at. */
  pointed: number | null;
  words: (value: number) => string;
  placeWords: (index: number) => string;
  smoothing: string;
}

function Legend({ smoothing, ...at }: LegendProps) {
  const { curves, pointed, placeWords } = at;
  const shown = pointed ?? lastPointOf(curves);
  return (
    <p class="legend">
      {curves.map((curve) => (
        <span key={curve.label}>
          <Swatch tone={curve.tone} dash={curve.dash} isPale={curve.isPale === true} />
          {curve.label} {curve.isPale !== true && <b>{valueWords(curve, at)}</b>}
        </span>
      ))}
      {shown !== null && <span class="at">at {placeWords(shown)}</span>}
      {smoothing !== '' && curves.some(({ smooth }) => smooth !== undefined) && (
        <span>strong lines: {smoothing}; pale lines, values and files: as measured</span>
      )}
    </p>
  );
}

/** A value of another place than the legend's is shown with its place. */
function valueWords(curve: Curve, { curves, pointed, words, placeWords }: Omit<LegendProps, 'smoothing'>): string {
  const value = legendValue(curve, pointed);
  if (value === null) return NONE;
  return `${words(value.value)}${value.at === (pointed ?? lastPointOf(curves)) ? '' : ` at ${placeWords(value.at)}`}`;
}

function placeOf(value: number, isClock: boolean): string {
  if (isClock) return clock(value);
  return Number.isInteger(value) ? count(value) : countTick(value);
}

/** Shows a piece of a line as it is drawn in the chart. */
export function Swatch({ tone, dash, isPale = false }: Look & { isPale?: boolean }) {
  return (
    <svg class="swatch" viewBox="0 0 22 8" aria-hidden="true">
      <path
        d="M1 4h20"
        stroke={color(`curve-${tone}`)}
        stroke-width={isPale ? 1.25 : 2.5}
        stroke-opacity={isPale ? 0.6 : 1}
        stroke-dasharray={dash.join(' ')}
      />
    </svg>
  );
}

/** A text that changes whenever the plot has to be made again. */
function lookText({ label, tone, lowest, smooth, dash, isPale, values }: Curve): string {
  const isPoint = values.filter((value) => value !== null).length === 1;
  return `${label} ${tone} ${lowest !== undefined} ${smooth !== undefined} ${dash.join()} ${isPale} ${isPoint}`;
}

/** Prepares the data. Values without a logarithm are left out of a logarithmic chart. */
function dataOf(x: number[], curves: Curve[], log: boolean): uPlot.AlignedData {
  const shown = (values: (number | null)[]): (number | null)[] =>
    values.map((value) => (value === null || !Number.isFinite(value) || (log && value <= 0) ? null : value));
  return [
    x,
    ...curves.flatMap(({ values, lowest, highest, smooth }) => [
      shown(values),
      ...(lowest === undefined || highest === undefined ? [] : [shown(highest), shown(lowest)]),
      ...(smooth === undefined ? [] : [shown(smooth)]),
    ]),
  ];
}

// A chart: curves with a band between their lowest and highest values. It can be zoomed by dragging, and its data can be downloaded.
import uPlot from 'uplot';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { SVG_HEIGHT, SVG_WIDTH, toSvg } from './chart-svg.js';
import type { ChartMark, Curve } from './curve.js';
import { download } from '../save-file.js';
import { downloadPng, toCsv } from './chart-files.js';
import { clockTick, countTick, decimal, NONE, percent, percentTick, tick } from '../format.js';
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
  /** All charts that share this cursor point at the same place. */
  cursor: SharedCursor;
  onZoom?: (range: { from: number; to: number } | null) => void;
  fileName: string;
}

export function Chart(props: ChartProps) {
  const { title, yName, xName, isClock = false, isShare = false, x, curves, marks = [], log = false, cursor, fileName } = props;
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
  const ends = curves
    .filter(({ isPale }) => isPale !== true)
    .map(({ label, values }) => `${label} ${valueAt(values, lastKnown(values), words)}`);
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
      <p class="legend">
        {curves.map(({ label, tone, dash, values, isPale }) => (
          <span key={label}>
            <Swatch tone={tone} dash={dash} isPale={isPale === true} />
            {label} {isPale !== true && <b>{valueAt(values, pointed ?? lastKnown(values), words)}</b>}
          </span>
        ))}
      </p>
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

export function valueAt(values: (number | null)[], at: number | null, words: (value: number) => string): string {
  const value = at === null ? null : values[at];
  return value === null || value === undefined || !Number.isFinite(value) ? NONE : words(value);
}

function lastKnown(values: (number | null)[]): number | null {
  const last = values.findLastIndex((value) => value !== null && Number.isFinite(value));
  return last < 0 ? null : last;
}

/** A text that changes whenever the plot has to be made again. */
function lookText({ label, tone, lowest, dash, isPale, values }: Curve): string {
  const isPoint = values.filter((value) => value !== null).length === 1;
  return `${label} ${tone} ${lowest !== undefined} ${dash.join()} ${isPale} ${isPoint}`;
}

/** Prepares the data. Values without a logarithm are left out of a logarithmic chart. */
function dataOf(x: number[], curves: Curve[], log: boolean): uPlot.AlignedData {
  const shown = (values: (number | null)[]): (number | null)[] =>
    values.map((value) => (value === null || !Number.isFinite(value) || (log && value <= 0) ? null : value));
  return [
    x,
    ...curves.flatMap(({ values, lowest, highest }) =>
      lowest === undefined || highest === undefined ? [shown(values)] : [shown(values), shown(highest), shown(lowest)],
    ),
  ];
}

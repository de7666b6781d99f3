// A chart: curves with a band between their lowest and highest values. It can be zoomed by dragging, and its data can be downloaded.
import uPlot from 'uplot';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { SVG_HEIGHT, SVG_WIDTH, toSvg } from './chart-svg.js';
import type { ChartMark, Curve, XLook } from './curve.js';
import { download } from '../save-file.js';
import { downloadPng, toCsv } from './chart-files.js';
import { clock, clockTick, count, countTick, decimal, NONE, percent, percentTick, tick } from '../format.js';
import { lastPointOf, legendValue } from './legend-values.js';
import type { Look } from './line-looks.js';
import { optionsOf, type PathData } from './plot-options.js';
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
  xLook?: XLook;
  /** The places on the x axis don't rise, so the lines go from place to place in the order of the points. */
  isPath?: boolean;
  curves: Curve[];
  marks?: ChartMark[];
  log?: boolean;
  setLog?: (log: boolean) => void;
  /** How the smoothed lines were made; '' where there are none. */
  smoothing?: string;
  /** All charts that share this cursor point at the same place. */
  cursor: SharedCursor;
  onZoom?: (range: { from: number; to: number } | null) => void;
  fileName: string;
  /** Whose values these are, for the files. */
  source: string;
}

export function Chart(props: ChartProps) {
  const { title, yName, xName, xLook = 'count', isPath = false, isShare = false, x, curves, marks = [], log = false, cursor } = props;
  const { smoothing = '', fileName, source } = props;
  const section = useRef<HTMLElement>(null);
  const words = isShare ? percent : decimal;
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = useTheme();
  const [pointed, setPointed] = useState<number | null>(cursor.index);
  const yTicks = isShare ? percentTick : tick;
  const xTicks = X_TICKS[xLook];
  const now = { x, xName, yName, xLook, isPath, xTicks, yTicks, curves, marks, onZoom: props.onZoom };
  const latest = useRef(now);
  latest.current = now;
  const data = useMemo(() => (isPath ? pathDataOf(x, curves, log) : dataOf(x, curves, log)), [x, curves, log, isPath]);
  const looks = curves.map((curve) => lookText(curve));
  const shape = `${looks.join('|')} ${xName} ${xLook} ${isPath} ${log} ${theme}`;

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
      if ((made.cursor.idx ?? null) === index || (latest.current.isPath && place.matches(':hover'))) return;
      const at = index === null ? undefined : latest.current.x[index];
      if (at === undefined || Number.isNaN(at)) made.setCursor({ left: -10, top: -10 }, false);
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

  const drawing = (): string => toSvg({ title, source, xName, xLook, yName, x, curves, marks, log, xWords: xTicks, yWords: yTicks });
  const at = { curves, pointed, words, placeWords: (index: number): string => placeOf(x[index]!, xLook) };
  const ends = curves
    .filter(({ isPale }) => isPale !== true)
    .map((curve) => `${curve.label} ${valueWords(curve, { ...at, pointed: null })}`);
  return (
    <section class="card chart" aria-label={title} ref={section}>
      <header>
        <h2>{title}</h2>
        <span class="tools">
          {props.setLog !== undefined && (
            <button class="plain" aria-pressed={log} onClick={() => props.setLog!(!log)} aria-label={`Logarithmic axis of ${title}`}>
              log
            </button>
          )}
          {document.fullscreenEnabled && (
            <button class="plain" onClick={() => void toggleFullScreen(section.current!)} aria-label={`Full screen of ${title}`}>
              <svg class="icon" viewBox="0 0 14 14" aria-hidden="true">
                <path d="M1 5V1h4M9 1h4v4M13 9v4H9M5 13H1V9" />
              </svg>
            </button>
          )}
          <button
            class="plain"
            onClick={() =>
              download(`${fileName}.csv`, 'text/csv', toCsv(x, curves, xLook === 'clock' ? 'seconds since 1970' : xName, yName))
            }
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

const X_TICKS: Record<XLook, (value: number) => string> = { count: countTick, share: percentTick, clock: clockTick };

function placeOf(value: number, look: XLook): string {
  if (Number.isNaN(value)) return 'a step without a place on this axis';
  if (look === 'clock') return clock(value);
  if (look === 'share') return percent(value, 2);
  return Number.isInteger(value) ? count(value) : countTick(value);
}

async function toggleFullScreen(element: HTMLElement): Promise<void> {
  await (document.fullscreenElement === element ? document.exitFullscreen() : element.requestFullscreen());
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

/** Values without a logarithm are left out of a logarithmic chart. */
const shown = (values: (number | null)[], log: boolean): (number | null)[] =>
  values.map((value) => (value === null || !Number.isFinite(value) || (log && value <= 0) ? null : value));

function dataOf(x: number[], curves: Curve[], log: boolean): uPlot.AlignedData {
  return [
    x,
    ...curves.flatMap(({ values, lowest, highest, smooth }) => [
      shown(values, log),
      ...(lowest === undefined || highest === undefined ? [] : [shown(highest, log), shown(lowest, log)]),
      ...(smooth === undefined ? [] : [shown(smooth, log)]),
    ]),
  ];
}

function pathDataOf(x: number[], curves: Curve[], log: boolean): uPlot.AlignedData {
  const places = shown(x, false);
  const lines: PathData = curves.map(({ values, smooth }) => [places, shown(smooth ?? values, log)]);
  return [null, ...lines] as unknown as uPlot.AlignedData;
}

// One chart: curves with the band between their lowest and highest values, zoomed by dragging, with its data to take away.
import uPlot from 'uplot';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Curve } from './curve.js';
import { download, toCsv } from './download.js';
import { decimal, tick } from './format.js';
import { toSvg } from './svg.js';
import { color, useTheme } from './theme.js';

export interface ChartProps {
  title: string;
  /** Its values in words, for the axis and the legend. */
  words?: (value: number) => string;
  unit?: string;
  x: number[];
  xWords?: (x: number) => string;
  curves: Curve[];
  log?: boolean;
  /** Charts of the same name show the same place. */
  sync?: string;
  onZoom?: (range: { from: number; to: number } | null) => void;
  fileName: string;
}

export function Chart(props: ChartProps) {
  const { title, unit, x, curves, log = false, sync, fileName } = props;
  const words = props.words ?? decimal;
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = useTheme();
  const [cursor, setCursor] = useState<number | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const data = useMemo(() => dataOf(x, curves, log), [x, curves, log]);
  const looks = curves.map(({ label, tone, lowest, dashed }) => `${label} ${tone} ${lowest !== undefined} ${dashed}`);
  const shape = `${looks.join('|')} ${log} ${theme}`;

  useEffect(() => {
    const place = holder.current!;
    const made = new uPlot(optionsOf(place, latest, { sync, log, setCursor }), data, place);
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: place.clientWidth - 16, height: place.clientHeight - 12 }));
    resized.observe(place);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(data), [data]);

  const at = cursor ?? lastKnown(curves);
  const ends = curves.map(({ label, values }) => `${label} ${valueAt(values, lastKnown(curves), words)}`);
  return (
    <section class="card chart" aria-label={title}>
      <header>
        <h3>
          {title}
          {unit !== undefined && <span class="soft"> · {unit}</span>}
        </h3>
        <span class="tools">
          <button class="plain" onClick={() => download(`${fileName}.csv`, 'text/csv', toCsv(x, curves))} aria-label={`${title} as CSV`}>
            CSV
          </button>
          <button
            class="plain"
            onClick={() => download(`${fileName}.svg`, 'image/svg+xml', toSvg({ title, unit, x, curves, log, words }))}
            aria-label={`${title} as SVG`}
          >
            SVG
          </button>
          <button
            class="plain"
            onClick={() => plot.current?.ctx.canvas.toBlob((blob) => blob !== null && download(`${fileName}.png`, 'image/png', blob))}
            aria-label={`${title} as PNG`}
          >
            PNG
          </button>
        </span>
      </header>
      <p class="legend">
        {curves.map(({ label, tone, values }) => (
          <span key={label}>
            <span class="swatch" style={{ background: color(`curve-${tone}`) }} />
            {label} <b>{valueAt(values, at, words)}</b>
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

function valueAt(values: (number | null)[], at: number | null, words: (value: number) => string): string {
  const value = at === null ? null : values[at];
  return value === null || value === undefined || !Number.isFinite(value) ? '–' : words(value);
}

function lastKnown(curves: Curve[]): number | null {
  const last = Math.max(...curves.map(({ values }) => values.findLastIndex((value) => value !== null && Number.isFinite(value))), -1);
  return last < 0 ? null : last;
}

/** Values that have no logarithm are left out of a logarithmic chart. */
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

interface Behaviour {
  sync: string | undefined;
  log: boolean;
  setCursor: (index: number | null) => void;
}

function optionsOf(place: HTMLElement, props: { current: ChartProps }, { sync, log, setCursor }: Behaviour): uPlot.Options {
  const { curves, xWords } = props.current;
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  for (const { label, tone, lowest, dashed, spans } of curves) {
    const stroke = color(`curve-${tone}`);
    series.push({
      label,
      stroke,
      width: 1.75,
      points: { show: false },
      spanGaps: spans === true,
      ...(dashed === true ? { dash: [5, 4] } : {}),
    });
    if (lowest === undefined) continue;
    bands.push({ series: [series.length, series.length + 1], fill: `color-mix(in srgb, ${stroke} 18%, transparent)` });
    series.push({ points: { show: false } }, { points: { show: false } });
  }
  const words = props.current.words ?? tick;
  const axis = { stroke: color('text-soft'), grid: { stroke: color('grid'), width: 1 }, ticks: { show: false }, font: '11.5px system-ui' };
  return {
    width: place.clientWidth - 16,
    height: place.clientHeight - 12,
    series,
    bands,
    legend: { show: false },
    // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- the enum is of types only: 3 is the logarithm
    scales: { x: { time: false }, y: log ? { distr: 3 } : {} },
    axes: [
      { ...axis, values: (_, splits) => splits.map((one) => (xWords ?? plain)(one)), size: 26 },
      { ...axis, values: (_, splits) => splits.map((one) => (one === null ? '' : words(one))), size: 64 },
    ],
    cursor: {
      ...(sync === undefined ? {} : { sync: { key: sync } }),
      drag: { x: true, y: false, setScale: false },
      points: { size: 6 },
    },
    hooks: {
      setCursor: [(made) => setCursor(made.cursor.idx ?? null)],
      setSelect: [
        (made) => {
          const { left, width } = made.select;
          if (width < 4) return;
          made.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          props.current.onZoom?.({ from: made.posToVal(left, 'x'), to: made.posToVal(left + width, 'x') });
        },
      ],
    },
  };
}

const plain = (value: number): string => new Intl.NumberFormat('en-GB', { notation: 'compact' }).format(value);

/** As people smooth a noisy curve: each value pulls the one before towards it by what `share` leaves. */
export function smoothed(values: (number | null)[], share: number): (number | null)[] {
  if (share === 0) return values;
  let last: number | null = null;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return value;
    last = last === null ? value : last * share + value * (1 - share);
    return last;
  });
}

/** A curve's values at other places, which rise as its own do: on the line between its points, none beyond them. */
export function interpolated(places: number[], values: (number | null)[], x: number[]): (number | null)[] {
  const points = places.flatMap((place, index) => {
    const value = values[index] ?? null;
    return value === null ? [] : [{ place, value }];
  });
  let next = 0;
  return x.map((at) => {
    while (next < points.length && points[next]!.place < at) next += 1;
    const after = points[next];
    if (after?.place === at) return after.value;
    const before = points[next - 1];
    if (before === undefined || after === undefined) return null;
    return before.value + ((after.value - before.value) * (at - before.place)) / (after.place - before.place);
  });
}

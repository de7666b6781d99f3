// The options by which uPlot draws a chart: axes, lines and bands, the marks at places where something happened, and the reactions to mouse
// and fingers.
import uPlot from 'uplot';
import type { ChartMark, Curve, XLook } from './curve.js';
import { color } from '../theme.js';
import { withEnd } from './ticks.js';

/** The font, in whole pixels: the library cuts fractions when it scales a font for a dense screen. */
const fontAt = (scale: number): string => `${Math.round(12 * scale)}px system-ui`;
const LABEL_SIZE = 20;
const [X_AXIS_SIZE, Y_AXIS_SIZE] = [26, 56];
/** The least distance between two times of day on an axis, in pixels. */
const CLOCK_SPACE = 84;
const SMALLEST_ZOOM_PX = 4;
const TEACHER_STROKE = 6;

export interface PlotProps {
  xLook: XLook;
  /** The places on the x axis don't rise, so the lines go from place to place in the order of the points. */
  isPath: boolean;
  xName: string;
  yName: string;
  xTicks: (value: number) => string;
  yTicks: (value: number) => string;
  curves: Curve[];
  marks: ChartMark[];
  onZoom?: ((range: { from: number; to: number } | null) => void) | undefined;
}

/** @param props the latest properties, which may change while the plot stays */
export function optionsOf(
  size: { width: number; height: number },
  props: { current: PlotProps },
  log: boolean,
  pointed: (index: number | null) => void,
): uPlot.Options {
  const { isPath } = props.current;
  const { series, bands } = isPath ? pathsOf(props.current.curves) : seriesOf(props.current.curves);
  const scale = Number(color('scale')) || 1;
  const font = fontAt(scale);
  const axis = {
    stroke: color('text-soft'),
    grid: { stroke: color('grid'), width: 1 },
    ticks: { show: false },
    font,
    labelFont: font,
    labelSize: LABEL_SIZE * scale,
  };
  const { xName, yName, xLook } = props.current;
  const isClock = xLook === 'clock';
  return {
    ...size,
    // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- the enum is of types only: 2 is a list of x for each line
    mode: isPath ? 2 : 1,
    series,
    bands,
    legend: { show: false },
    // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- the enum is of types only: 3 is the logarithm
    scales: { x: { time: isClock }, y: log ? { distr: 3 } : {} },
    axes: [
      {
        ...axis,
        label: xName,
        values: (_, splits) => splits.map((one) => props.current.xTicks(one)),
        size: X_AXIS_SIZE * scale,
        ...(xLook === 'count' && !isPath ? { splits: splitsWithEnd } : {}),
        ...(isClock ? { space: CLOCK_SPACE * scale } : {}),
      },
      {
        ...axis,
        label: yName,
        values: (_, splits) => splits.map((one) => (one === null ? '' : props.current.yTicks(one))),
        size: Y_AXIS_SIZE * scale,
      },
    ],
    cursor: isPath
      ? { drag: { x: false, y: false }, points: { show: false }, dataIdx: () => null }
      : { drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
    hooks: {
      ready: [listenToFingers],
      setCursor: [(made) => pointed(isPath ? nearestPoint(made) : (made.cursor.idx ?? null))],
      draw: [(made) => drawMarks(made, props.current.marks)],
      setSelect: [
        (made) => {
          const { left, width } = made.select;
          if (width < SMALLEST_ZOOM_PX) return;
          made.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          props.current.onZoom?.({ from: made.posToVal(left, 'x'), to: made.posToVal(left + width, 'x') });
        },
      ],
    },
  };
}

function splitsWithEnd(_: uPlot, _axis: number, min: number, max: number, step: number): number[] {
  const first = Math.ceil(min / step - 1e-9);
  const round = Array.from({ length: Math.max(0, Math.floor(max / step + 1e-9) - first + 1) }, (_value, index) => (first + index) * step);
  return withEnd(round, max, step);
}

function seriesOf(curves: Curve[]): { series: uPlot.Series[]; bands: uPlot.Band[] } {
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  for (const curve of curves) {
    const { values, lowest, smooth, spans } = curve;
    const line = strokeOf(curve);
    const { stroke } = line;
    series.push({
      ...line,
      ...(smooth === undefined ? {} : { width: 1, alpha: 0.35, dash: [] }),
      // A baseline has one step, and a line needs two points, so the point itself is drawn.
      points: { show: values.filter((value) => value !== null).length === 1 },
      spanGaps: spans === true,
    });
    if (lowest !== undefined) {
      bands.push({ series: [series.length, series.length + 1], fill: `color-mix(in srgb, ${stroke} 18%, transparent)` });
      series.push({ points: { show: false } }, { points: { show: false } });
    }
    if (smooth !== undefined) series.push({ ...line, points: { show: false } });
  }
  return { series, bands };
}

function strokeOf({ label, tone, dash, isPale }: Curve): { label: string; stroke: string; width: number; alpha: number; dash: number[] } {
  return { label, stroke: color(`curve-${tone}`), width: isPale === true ? 1 : 1.75, alpha: isPale === true ? 0.5 : 1, dash: [...dash] };
}

/** Each line has places of its own. Bands are left out: they would cover the line itself. */
function pathsOf(curves: Curve[]): { series: uPlot.Series[]; bands: uPlot.Band[] } {
  const facets = ['x', 'y'].map((scale) => ({ scale, auto: true }));
  const lines = curves.map((curve) => ({ ...strokeOf(curve), facets, points: { show: false }, paths: pathThrough(curve.spans === true) }));
  return { series: [null as unknown as uPlot.Series, ...lines], bands: [] };
}

/** Draws a line from point to point in their order. A point without a place is passed by; one without a value breaks the line. */
function pathThrough(spans: boolean): uPlot.Series.PathBuilder {
  return (plot, index, from, to) => {
    const stroke = new Path2D();
    uPlot.orient(plot, index, (_, xs, ys, x, y, placeX, placeY, left, top, width, height) => {
      let isDown = false;
      for (let point = from; point <= to; point += 1) {
        const [at, value] = [xs[point], ys[point]];
        if (at == null) continue;
        if (value == null) isDown &&= spans;
        else {
          stroke[isDown ? 'lineTo' : 'moveTo'](placeX(at, x, width, left), placeY(value, y, height, top));
          isDown = true;
        }
      }
    });
    return { stroke, fill: null, flags: 0 };
  };
}

/** Returns the point of any line that is nearest to the mouse; null where the mouse is elsewhere. */
function nearestPoint(plot: uPlot): number | null {
  const { left = -1, top = -1 } = plot.cursor;
  if (left < 0 || top < 0) return null;
  let [nearest, least] = [null as number | null, Infinity];
  for (const [xs, ys] of (plot.data as unknown as PathData).slice(1) as Exclude<PathData[number], null>[])
    ys.forEach((value, point) => {
      const at = xs[point];
      if (at == null || value == null) return;
      const distance = Math.hypot(plot.valToPos(at, 'x') - left, plot.valToPos(value, 'y') - top);
      if (distance < least) [nearest, least] = [point, distance];
    });
  return nearest;
}

/** The data of a plot whose lines have places of their own. */
export type PathData = (null | [xs: (number | null)[], ys: (number | null)[]])[];

/** Draws the marks. A change of teacher is a short stroke at the top, since there may be hundreds. Other marks are dashed lines. */
function drawMarks(plot: uPlot, marks: ChartMark[]): void {
  const { ctx, bbox } = plot;
  const dense = devicePixelRatio;
  const { min, max } = plot.scales['x']!;
  ctx.save();
  ctx.lineWidth = dense;
  for (const { x, kind } of marks) {
    if (min == null || max == null || x < min || x > max) continue;
    const at = Math.round(plot.valToPos(x, 'x', true));
    ctx.strokeStyle = color(MARK_COLORS[kind]);
    ctx.setLineDash(kind === 'teacher' ? [] : [4 * dense, 3 * dense]);
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + (kind === 'teacher' ? TEACHER_STROKE * dense : bbox.height));
    ctx.stroke();
  }
  ctx.restore();
}

export const MARK_COLORS: Record<ChartMark['kind'], string> = {
  teacher: 'line-strong',
  phase: 'text-soft',
  fork: 'live',
  rewind: 'wait',
  restart: 'bad',
};

/**
 * Lets fingers work as a mouse, because the library only reacts to a mouse. A finger that moves sideways selects a range; one that moves up
 * or down scrolls the page.
 */
function listenToFingers(plot: uPlot): void {
  const { over } = plot;
  over.style.touchAction = 'pan-y';
  const pass =
    (type: string, to: EventTarget = over) =>
    (event: PointerEvent): void => {
      if (event.pointerType !== 'touch') return;
      const { clientX, clientY } = event;
      // The library ignores a mouse that has not moved.
      to.dispatchEvent(new MouseEvent(type, { clientX, clientY, movementX: 1, button: 0, bubbles: true }));
    };
  over.addEventListener('pointerdown', pass('mousemove'));
  over.addEventListener('pointerdown', pass('mousedown'));
  over.addEventListener('pointermove', pass('mousemove'));
  for (const end of ['pointerup', 'pointercancel'] as const) over.addEventListener(end, pass('mouseup', document));
}

// The options by which uPlot draws a chart: axes, lines and bands, the marks at places where something happened, and the reactions to mouse
// and fingers.
import type uPlot from 'uplot';
import type { ChartMark, Curve } from './curve.js';
import { color } from '../theme.js';

/** The font, in whole pixels: the library cuts fractions when it scales a font for a dense screen. */
const fontAt = (scale: number): string => `${Math.round(12 * scale)}px system-ui`;
const LABEL_SIZE = 20;
const [X_AXIS_SIZE, Y_AXIS_SIZE] = [26, 56];
/** The least distance between two times of day on an axis, in pixels. */
const CLOCK_SPACE = 84;
const SMALLEST_ZOOM_PX = 4;
const TEACHER_STROKE = 6;

export interface PlotProps {
  /** x is in seconds since 1970. */
  isClock: boolean;
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
  const { series, bands } = seriesOf(props.current.curves);
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
  const { xName, yName, isClock } = props.current;
  return {
    ...size,
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
        ...(isClock ? { space: CLOCK_SPACE * scale } : {}),
      },
      {
        ...axis,
        label: yName,
        values: (_, splits) => splits.map((one) => (one === null ? '' : props.current.yTicks(one))),
        size: Y_AXIS_SIZE * scale,
      },
    ],
    cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
    hooks: {
      ready: [listenToFingers],
      setCursor: [(made) => pointed(made.cursor.idx ?? null)],
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

function seriesOf(curves: Curve[]): { series: uPlot.Series[]; bands: uPlot.Band[] } {
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  for (const { label, tone, dash, values, lowest, smooth, spans, isPale } of curves) {
    const stroke = color(`curve-${tone}`);
    const strokes = dash.length > 0 ? { dash: [...dash] } : {};
    const isBehind = isPale === true || smooth !== undefined;
    series.push({
      label,
      stroke,
      width: isBehind ? 1 : 1.75,
      alpha: isPale === true ? 0.5 : isBehind ? 0.35 : 1,
      // A baseline has one step, and a line needs two points, so the point itself is drawn.
      points: { show: values.filter((value) => value !== null).length === 1 },
      spanGaps: spans === true,
      ...(smooth === undefined ? strokes : {}),
    });
    if (lowest !== undefined) {
      bands.push({ series: [series.length, series.length + 1], fill: `color-mix(in srgb, ${stroke} 18%, transparent)` });
      series.push({ points: { show: false } }, { points: { show: false } });
    }
    if (smooth !== undefined) series.push({ stroke, width: 1.75, points: { show: false }, ...strokes });
  }
  return { series, bands };
}

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

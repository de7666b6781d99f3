// Draws each run as a line over upright axes, one for each figure. Its colour is that of its kind: its recipe, or its variant in a study.
import { axis } from '../../../../../libs/comparison/src/index.js';
import { Brush } from '../../ui/charts/brush.js';
import { Swatch } from '../../ui/charts/chart.js';
import { lookOf } from '../../ui/charts/line-looks.js';
import { go } from '../../ui/router.js';
import { Scroll } from '../../ui/scroll.js';
import { useUnitsAcross } from '../../ui/use-width.js';
import { nameOf } from '../columns.js';
import type { Bounds } from './bounds.js';
import { valueOf, type DrawnRun } from './figure-columns.js';
import type { PlotFigure } from './plot-figures.js';

const [LEAST_WIDTH, HEIGHT, SIDE, TOP, BOTTOM] = [1100, 340, 70, 44, 14];
/** The heights of titles in turn: neighbours would stand over one another in one line. */
const TITLE_LINES = [14, 32] as const;
/** The width beside an axis in which a reader can mark a part of it. */
const GRIP = 22;

interface Props {
  runs: DrawnRun[];
  /** The kind of a run, which gives its line a colour. */
  kindOf: (run: DrawnRun) => string;
  kinds: readonly string[];
  axes: PlotFigure[];
  mark: (bounds: Bounds[]) => void;
}

export function ParallelRuns({ runs, kindOf, kinds, axes, mark }: Props) {
  const { across: width, measured } = useUnitsAcross(LEAST_WIDTH, 1);
  const placed = axes.map((figure, index) => {
    const values = runs.flatMap((run) => valueOf(run, figure.name) ?? []);
    const across = SIDE + (index * (width - 2 * SIDE)) / (axes.length - 1);
    return { figure, across, scale: axis(values, HEIGHT - BOTTOM, TOP) };
  });
  return (
    <section class="card chart" aria-label="Runs over parallel axes">
      <p class="legend">
        {kinds.map((kind, index) => (
          <span key={kind}>
            <Swatch {...lookOf(index)} />
            {kind}
          </span>
        ))}
        <span>a line breaks where a run has no value</span>
      </p>
      <Scroll label="Runs over parallel axes">
        <svg
          ref={measured}
          class="scatter parallel"
          viewBox={`0 0 ${width} ${HEIGHT}`}
          role="img"
          aria-label={`Runs by ${axes.map(({ title }) => title).join(', ')}`}
        >
          {runs.map((run) => {
            const { tone, dash } = lookOf(kinds.indexOf(kindOf(run)));
            let isDown = false;
            const path = placed.map(({ figure, across, scale }) => {
              const value = valueOf(run, figure.name);
              const command = isDown ? 'L' : 'M';
              isDown = value !== undefined;
              return value === undefined ? '' : `${command}${across} ${scale.at(value)}`;
            });
            return (
              <path
                key={run.runId}
                class="run-line"
                d={path.join('')}
                stroke={`var(--curve-${tone})`}
                stroke-dasharray={dash.join(' ')}
                onClick={() => go(`/runs/${run.runId}`)}
              >
                <title>{nameOf(run)}</title>
              </path>
            );
          })}
          {placed.map(({ figure: { name, title, tick }, across, scale }, index) => (
            <g key={name}>
              <line x1={across} x2={across} y1={TOP} y2={HEIGHT - BOTTOM} stroke="var(--line-strong)" />
              <text x={across} y={TITLE_LINES[index % 2]} text-anchor="middle" fill="var(--text)" font-weight="600">
                {title}
              </text>
              {scale.ticks.map((value) => (
                <text key={value} class="tick" x={across + 6} y={scale.at(value) + 4}>
                  {tick(value)}
                </text>
              ))}
              <Brush
                area={{ x: [across - GRIP, across + GRIP], y: [TOP, HEIGHT - BOTTOM] }}
                isHeightOnly
                done={({ y: [top, bottom] }) => mark([{ name, low: scale.valueAt(bottom), high: scale.valueAt(top) }])}
              />
            </g>
          ))}
        </svg>
      </Scroll>
    </section>
  );
}

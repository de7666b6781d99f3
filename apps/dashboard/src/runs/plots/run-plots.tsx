// Draws runs against one another: a scatter of two figures, or all chosen figures side by side. An area that a reader marks becomes
// conditions on the runs.
import type { ComponentChildren } from 'preact';
import { counted } from '../../ui/format.js';
import { LabelledSelect } from '../../ui/labelled-select.js';
import { Pending } from '../../ui/pending.js';
import { setQuery } from '../../ui/router.js';
import { ParallelRuns } from './parallel-runs.js';
import { narrowed, withBounds, withoutBounds, type Bounds } from './bounds.js';
import { useDrawnRuns, type Selection } from './drawn-runs.js';
import { valueOf, type DrawnRun } from './figure-columns.js';
import { differing, isSetting, PLOT_FIGURES, PLOT_TITLES, plotFigure, type PlotFigure } from './plot-figures.js';
import { kindsOf, recipeOf, RunScatter } from './run-scatter.js';

export const RUN_PLOTS = { scatter: 'a scatter', parallel: 'parallel axes' };
const MOST_AXES = 8;
/** The texts that plots need of each run: what gives it a colour, and how its perplexity was measured. */
const TEXTS = ['recipe', 'measure'];

interface Props {
  /** One of RUN_PLOTS. */
  kind: string;
  selection: Selection;
  query: URLSearchParams;
  /** The kind of a run, which gives it a colour; its recipe, unless given. */
  kindOf?: (run: DrawnRun) => string;
  /** The kinds in the order of their colours; by their names, unless given. */
  kinds?: readonly string[];
  /** Whose runs these are, for the files. */
  source?: string;
  /** Shows more about the drawn runs, below them. */
  children?: (runs: readonly DrawnRun[]) => ComponentChildren;
}

export function RunPlots({ kind, selection, query, kindOf = recipeOf, kinds: ordered, source = '', children }: Props) {
  const [x, y] = [
    plotFigure(query.get('across')) ?? plotFigure('parameters_left')!,
    plotFigure(query.get('up')) ?? plotFigure('perplexity')!,
  ];
  const wanted = kind === 'parallel' ? PLOT_FIGURES : [x, y];
  const loaded = useDrawnRuns(selection, [...TEXTS, ...new Set(wanted.map(({ name }) => name))]);
  const { data: runs } = loaded;
  if (runs === undefined) return <Pending loaded={loaded} heading="The runs can&rsquo;t be drawn" />;
  const { where } = selection;
  const mark = (bounds: Bounds[]): void => {
    const valuesOf = (name: string): number[] => runs.flatMap((run) => valueOf(run, name) ?? []);
    const found = bounds.map((one) => (isSetting(one.name) ? narrowed(one, valuesOf(one.name)) : one));
    setQuery({ where: withBounds(where, found).join(', ') });
  };
  const names = PLOT_FIGURES.map(({ name }) => name);
  const free = withoutBounds(where, names);
  const measures = new Set(runs.flatMap(({ texts }) => texts['measure'] || []));
  const kinds = ordered ?? kindsOf(runs, kindOf);
  const plot = { runs, kindOf, kinds, query, mark };
  return (
    <>
      <div class="plots">
        {runs.length > 0 && (kind === 'parallel' ? <Parallel {...plot} /> : <ChosenScatter {...plot} x={x} y={y} source={source} />)}
        <p class="soft">
          {runs.length > 0 ? 'Drag over an area to see only its runs.' : 'There is no run to draw.'}
          {measures.size > 1 && ` Their perplexities are by ${measures.size} measures, which don’t compare.`}{' '}
          {free.length < where.length && (
            <button class="plain" onClick={() => setQuery({ where: free.join(', ') })}>
              Without these bounds
            </button>
          )}
        </p>
      </div>
      {children?.(runs)}
    </>
  );
}

interface PlotProps {
  runs: DrawnRun[];
  kindOf: (run: DrawnRun) => string;
  kinds: readonly string[];
  query: URLSearchParams;
  mark: (bounds: Bounds[]) => void;
}

function ChosenScatter({ runs, kindOf, kinds, query, mark, x, y, source }: PlotProps & { x: PlotFigure; y: PlotFigure; source: string }) {
  const drawn = runs.filter((run) => valueOf(run, x.name) !== undefined && valueOf(run, y.name) !== undefined);
  const where = query.get('where') ? ` where ${query.get('where')}` : '';
  return (
    <>
      <div class="bar">
        <LabelledSelect label="Across" value={x.name} options={PLOT_TITLES} changed={(name) => setQuery({ across: name })} />
        <LabelledSelect label="Up" value={y.name} options={PLOT_TITLES} changed={(name) => setQuery({ up: name })} />
        <span class="soft num">
          {counted(drawn.length, 'run')}
          {drawn.length < runs.length && `; ${counted(runs.length - drawn.length, 'run')} without one of the two`}
        </span>
      </div>
      <RunScatter
        {...{ runs: drawn, kindOf, kinds, x, y }}
        source={`Espalier, ${source}${counted(drawn.length, 'run')}${where}`}
        brushed={({ x: [left, right], y: [low, high] }) =>
          mark([{ name: x.name, low: left, high: right }, ...(y.name === x.name ? [] : [{ name: y.name, low, high }])])
        }
      />
    </>
  );
}

function Parallel({ runs, kindOf, kinds, query, mark }: PlotProps) {
  const chosen = (query.get('axes') ?? '').split(',').flatMap((name) => plotFigure(name) ?? []);
  const usual = ['parameters_left', 'training_seconds', 'perplexity'].flatMap((name) => plotFigure(name) ?? []);
  const axes = chosen.length > 1 ? chosen : [...differing(runs).slice(0, MOST_AXES - usual.length), ...usual];
  const show = (next: PlotFigure[]): void => setQuery({ axes: next.map(({ name }) => name).join(',') });
  const others = Object.fromEntries(PLOT_FIGURES.filter((one) => !axes.includes(one)).map(({ name, title }) => [name, title]));
  return (
    <>
      <div class="bar">
        {axes.length < MOST_AXES && (
          <LabelledSelect
            label="Another axis"
            value=""
            options={{ '': 'none', ...others }}
            changed={(name) => name !== '' && show([...axes, plotFigure(name)!])}
          />
        )}
        {axes.length > 2 && (
          <LabelledSelect
            label="Without"
            value=""
            options={{ '': 'none', ...Object.fromEntries(axes.map(({ name, title }) => [name, title])) }}
            changed={(without) => without !== '' && show(axes.filter(({ name }) => name !== without))}
          />
        )}
        <span class="soft num">{counted(runs.length, 'run')}</span>
      </div>
      <ParallelRuns runs={runs} kindOf={kindOf} kinds={kinds} axes={axes} mark={mark} />
    </>
  );
}

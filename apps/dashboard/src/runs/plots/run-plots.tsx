// Draws the runs of the list against one another: a scatter of two figures, or all chosen figures side by side. An area that a reader marks
// becomes a filter of the list.
import { useChanges } from '../../api/live.js';
import { useLoaded } from '../../api/loaded-data.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { Scatter } from '../../ui/charts/scatter.js';
import { counted } from '../../ui/format.js';
import { LabelledSelect } from '../../ui/labelled-select.js';
import { Pending } from '../../ui/pending.js';
import { setQuery } from '../../ui/router.js';
import { headlineOf, nameOf } from '../columns.js';
import { allRuns, type RunFilter } from '../run-pages.js';
import { ParallelRuns } from './parallel-runs.js';
import { narrowed, withBounds, withoutBounds, type Bounds } from './bounds.js';
import { differing, isSetting, PLOT_FIGURES, plotFigure, recipeOf, type PlotFigure } from './plot-figures.js';

export const PLOTS = { '': 'the list alone', scatter: 'a scatter', parallel: 'parallel axes' };
const TITLES = Object.fromEntries(PLOT_FIGURES.map(({ name, title }) => [name, title]));
const MOST_AXES = 8;

export function RunPlots({ kind, filter, query }: { kind: string; filter: RunFilter; query: URLSearchParams }) {
  const { orderBy: _, ...selection } = filter;
  const key = JSON.stringify(selection);
  const loaded = useLoaded(`plots ${key}`, (signal) => allRuns(selection, signal));
  useChanges(() => true, loaded.reload, 3_000, key);
  const { data: runs } = loaded;
  if (runs === undefined) return <Pending loaded={loaded} heading="The runs can&rsquo;t be drawn" />;
  const { where } = filter;
  const mark = (bounds: Bounds[]): void => {
    const valuesOf = (name: string): number[] => runs.flatMap((run) => plotFigure(name)?.of(run) ?? []);
    const found = bounds.map((one) => (isSetting(one.name) ? narrowed(one, valuesOf(one.name)) : one));
    setQuery({ where: withBounds(where, found).join(', ') });
  };
  const names = PLOT_FIGURES.map(({ name }) => name);
  const free = withoutBounds(where, names);
  const measures = new Set(runs.flatMap((run) => headlineOf(run) ?? []).map(({ convention, dataDigest }) => `${convention} ${dataDigest}`));
  return (
    <div class="plots">
      {kind === 'parallel' ? <Parallel runs={runs} query={query} mark={mark} /> : <RunScatter runs={runs} query={query} mark={mark} />}
      <p class="soft">
        Drag over an area to see only its runs.
        {measures.size > 1 && ` Their perplexities are by ${measures.size} measures, which don’t compare.`}{' '}
        {free.length < where.length && (
          <button class="plain" onClick={() => setQuery({ where: free.join(', ') })}>
            Without these bounds
          </button>
        )}
      </p>
    </div>
  );
}

interface PlotProps {
  runs: Run[];
  query: URLSearchParams;
  mark: (bounds: Bounds[]) => void;
}

function RunScatter({ runs, query, mark }: PlotProps) {
  const x = plotFigure(query.get('across')) ?? plotFigure('parameters_left')!;
  const y = plotFigure(query.get('up')) ?? plotFigure('perplexity')!;
  const drawn = runs.flatMap((run) => {
    const [across, up] = [x.of(run), y.of(run)];
    if (across === undefined || up === undefined) return [];
    const title = `${nameOf(run)}: ${x.title} ${x.words(across)}, ${y.title} ${y.words(up)}`;
    return [{ recipe: recipeOf(run), point: { x: across, y: up, title, to: `/runs/${run.runId}` } }];
  });
  const recipes = [...new Set(drawn.map(({ recipe }) => recipe))].sort();
  const lines = recipes.map((name) => ({ name, points: drawn.filter(({ recipe }) => recipe === name).map(({ point }) => point) }));
  return (
    <>
      <div class="bar">
        <LabelledSelect label="Across" value={x.name} options={TITLES} changed={(name) => setQuery({ across: name })} />
        <LabelledSelect label="Up" value={y.name} options={TITLES} changed={(name) => setQuery({ up: name })} />
        <span class="soft num">
          {counted(drawn.length, 'run')}
          {drawn.length < runs.length && `; ${counted(runs.length - drawn.length, 'run')} without one of the two`}
        </span>
      </div>
      <Scatter
        title={`${y.title} against ${x.title}`}
        about="each point is a run, and leads to it"
        x={{ name: x.title, words: x.tick, isLog: true }}
        y={{ name: y.title, words: y.tick }}
        lines={lines}
        source={`Espalier, ${counted(drawn.length, 'run')}${query.get('where') ? ` where ${query.get('where')}` : ''}`}
        isLoose
        brushed={({ x: [left, right], y: [low, high] }) =>
          mark([{ name: x.name, low: left, high: right }, ...(y.name === x.name ? [] : [{ name: y.name, low, high }])])
        }
      />
    </>
  );
}

function Parallel({ runs, query, mark }: PlotProps) {
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
      <ParallelRuns runs={runs} axes={axes} mark={mark} />
    </>
  );
}

// Draws each run as a point, in the colour and the shape of its kind.
import type { Area } from '../../ui/charts/brush.js';
import { Scatter } from '../../ui/charts/scatter.js';
import { nameOf } from '../columns.js';
import { valueOf, type DrawnRun } from './figure-columns.js';
import type { PlotFigure } from './plot-figures.js';

type KindOf = (run: DrawnRun) => string;

export const recipeOf: KindOf = ({ texts }) => texts['recipe'] ?? '';
export const kindsOf = (runs: readonly DrawnRun[], kindOf: KindOf): string[] => [...new Set(runs.map(kindOf))].sort();

interface Props {
  runs: readonly DrawnRun[];
  kindOf: KindOf;
  /** The kinds in the order of their colours. */
  kinds: readonly string[];
  x: PlotFigure;
  y: PlotFigure;
  title?: string;
  source: string;
  brushed?: (area: Area) => void;
}

export function RunScatter({ runs, kindOf, kinds, x, y, title = titleOfScatter(x, y), source, brushed }: Props) {
  const drawn = runs.flatMap((run) => {
    const [across, up] = [valueOf(run, x.name), valueOf(run, y.name)];
    if (across === undefined || up === undefined) return [];
    const words = `${nameOf(run)}: ${x.title} ${x.words(across)}, ${y.title} ${y.words(up)}`;
    return [{ kind: kindOf(run), point: { x: across, y: up, title: words, to: `/runs/${run.runId}` } }];
  });
  return (
    <Scatter
      title={title}
      about="each point is a run, and leads to it"
      x={{ name: x.title, words: x.tick, isLog: true }}
      y={{ name: y.title, words: y.tick }}
      lines={kinds.map((name) => ({ name, points: drawn.filter(({ kind }) => kind === name).map(({ point }) => point) }))}
      source={source}
      isLoose
      {...(brushed === undefined ? {} : { brushed })}
    />
  );
}

export const titleOfScatter = (x: PlotFigure, y: PlotFigure): string => `${y.title} against ${x.title}`;

// The figures and settings of runs that can be drawn against one another, by the names that conditions of the list have.
import { SETTING_FIELDS } from '../../forms/run/setting-table.js';
import { count, countTick, decimal, percent, percentTick, short, tick } from '../../ui/format.js';
import { valueOf, type DrawnRun } from './figure-columns.js';

export interface PlotFigure {
  name: string;
  title: string;
  words: (value: number) => string;
  /** Writes a round value beside an axis. */
  tick: (value: number) => string;
}

const FIGURES: PlotFigure[] = [
  { name: 'perplexity', title: 'perplexity', words: decimal, tick },
  { name: 'parameters_left', title: 'parameters left', words: short, tick: countTick },
  { name: 'sparsity', title: 'sparsity', words: percent, tick: percentTick },
  { name: 'tokens_per_second', title: 'tokens a second', words: short, tick: countTick },
  { name: 'training_seconds', title: 'seconds of training', words: count, tick: countTick },
  { name: 'loss', title: 'last loss', words: decimal, tick },
  { name: 'teachers', title: 'teachers', words: count, tick: countTick },
];

/** A seed is left out: its size says nothing, and no condition compares it. */
const SETTINGS: PlotFigure[] = SETTING_FIELDS.filter(({ name, kind, unit }) => kind === 'number' && unit !== 'time' && name !== 'seed').map(
  ({ name }) => ({ name, title: name.replaceAll('_', ' '), words: decimal, tick }),
);

export const isSetting = (name: string): boolean => SETTINGS.some((one) => one.name === name);
export const PLOT_FIGURES: readonly PlotFigure[] = [...FIGURES, ...SETTINGS];
export const PLOT_TITLES: Readonly<Record<string, string>> = Object.fromEntries(PLOT_FIGURES.map(({ name, title }) => [name, title]));
export const plotFigure = (name: string | null): PlotFigure | undefined => PLOT_FIGURES.find((one) => one.name === name);

/** The settings in which the runs differ. */
export const differing = (runs: readonly DrawnRun[]): PlotFigure[] =>
  SETTINGS.filter(({ name }) => new Set(runs.map((run) => valueOf(run, name))).size > 1);

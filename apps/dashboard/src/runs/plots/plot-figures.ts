// The figures and settings of runs that can be drawn against one another, by the names that conditions of the list have.
import { shareGone } from '../../../../../libs/comparison/src/index.js';
import { SETTING_FIELDS, wordsOf } from '../../forms/run/setting-table.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { count, countTick, decimal, percent, percentTick, short, tick } from '../../ui/format.js';
import { headlineOf } from '../columns.js';

export interface PlotFigure {
  name: string;
  title: string;
  words: (value: number) => string;
  /** Writes a round value beside an axis. */
  tick: (value: number) => string;
  of: (run: Run) => number | undefined;
}

const FIGURES: PlotFigure[] = [
  { name: 'perplexity', title: 'perplexity', words: decimal, tick, of: (run) => headlineOf(run)?.perplexity },
  {
    name: 'parameters_left',
    title: 'parameters left',
    words: short,
    tick: countTick,
    of: ({ result }) => result && Number(result.parameterCount),
  },
  { name: 'sparsity', title: 'sparsity', words: percent, tick: percentTick, of: (run) => (run.step === 0n ? undefined : shareGone(run)) },
  {
    name: 'tokens_per_second',
    title: 'tokens a second',
    words: short,
    tick: countTick,
    of: ({ tokensPerSecond }) => tokensPerSecond || undefined,
  },
  {
    name: 'training_seconds',
    title: 'seconds of training',
    words: count,
    tick: countTick,
    of: ({ trainingSeconds }) => trainingSeconds || undefined,
  },
  { name: 'loss', title: 'last loss', words: decimal, tick, of: ({ lastStep }) => lastStep?.loss },
  { name: 'teachers', title: 'teachers', words: count, tick: countTick, of: ({ teacherCount }) => teacherCount },
];

/** A seed is left out: its size says nothing, and no condition compares it. */
const SETTINGS: PlotFigure[] = SETTING_FIELDS.filter(({ name, kind, unit }) => kind === 'number' && unit !== 'time' && name !== 'seed').map(
  ({ name }) => ({
    name,
    title: name.replaceAll('_', ' '),
    words: decimal,
    tick,
    of: ({ settings }) => {
      const text = wordsOf(settings)[name] ?? '';
      return text === '' || !Number.isFinite(Number(text)) ? undefined : Number(text);
    },
  }),
);

export const isSetting = (name: string): boolean => SETTINGS.some((one) => one.name === name);
export const PLOT_FIGURES: readonly PlotFigure[] = [...FIGURES, ...SETTINGS];
export const plotFigure = (name: string | null): PlotFigure | undefined => PLOT_FIGURES.find((one) => one.name === name);

/** The settings in which the runs differ. */
export const differing = (runs: readonly Run[]): PlotFigure[] => SETTINGS.filter(({ of }) => new Set(runs.map((run) => of(run))).size > 1);

export const recipeOf = ({ settings }: Run): string => wordsOf(settings)['recipe'] ?? '';

// The figures that a table of a page can have.
import type { DrawnRun } from '../runs/plots/figure-columns.js';
import { PLOT_TITLES, plotFigure } from '../runs/plots/plot-figures.js';
import { decimal, NONE } from '../ui/format.js';

const OTHERS: Readonly<Record<string, string>> = {
  recipe: 'recipe',
  model: 'model',
  seed: 'seed',
  launched_by: 'launched by',
  step: 'step',
};

/** Each figure with its title. */
export const PAGE_FIGURES: Readonly<Record<string, string>> = {
  ...PLOT_TITLES,
  ...OTHERS,
};

export const titleOfFigure = (name: string): string => PAGE_FIGURES[name] ?? name.replaceAll('_', ' ');
export const isNumber = (runs: readonly DrawnRun[], name: string): boolean => runs.some(({ numbers }) => numbers[name] !== undefined);

export function wordsOfFigure({ numbers, texts }: DrawnRun, name: string): string {
  const value = numbers[name];
  if (value !== undefined) return (plotFigure(name)?.words ?? decimal)(value);
  return texts[name] || NONE;
}

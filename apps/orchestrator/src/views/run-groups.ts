// Groups runs that are alike in some settings or figures, with the mean and spread of their results.
import { shareGone } from '../pruning-run/planning/result-size.js';
import { invalidField, type v1 } from '#protocol';
import { headlineOf } from '../pruning-run/aggregate/headline.js';
import { figureOf } from './mean-and-spread.js';
import type { RunSummary } from './projection/run-detail.js';
import { figureNamed, measureOfPerplexity, type Figure, type FigureValue } from './run-figures.js';

const MOST_BY = 4;
const MOST_FIGURES = 16;
const MOST_GROUPS = 1_000;

/** The kept part of a completed run. Evaluations and settings of thousands of runs would take too much memory. */
interface Completed {
  runId: string;
  name: string;
  perplexity: number | null;
  /** The text and the convention of the perplexity. */
  measure: string;
  sparsity: number;
  seconds: number;
  /** The further figures that were asked for, in their order. */
  figures: (number | null)[];
}
interface Group {
  values: FigureValue[];
  runs: number;
  completed: Completed[];
}

/**
 * @param more names of further figures to give for each group
 * @param runs the runs, which are read once, one after another
 */
export function groupRuns(by: readonly string[], more: readonly string[], runs: Iterable<RunSummary>): v1.GroupRunsResponse {
  if (by.length === 0) throw byOutOfRange();
  const shown = furtherFigures(more);
  const figures = figuresOfGroups(by);
  const groups = new Map<string, Group>();
  let total = 0;
  for (const summary of runs) {
    total += 1;
    const values = figures.map((figure) => figure.of(summary));
    const key = JSON.stringify(values);
    if (groups.size === MOST_GROUPS && !groups.has(key))
      throw invalidField('FIELD_OUT_OF_RANGE', 'by', `makes more than ${MOST_GROUPS} groups: name what several runs have in common`);
    const group = groups.get(key) ?? { values, runs: 0, completed: [] };
    groups.set(key, group);
    group.runs += 1;
    if (summary.run.status === 'completed') group.completed.push(completedOf(summary, shown));
  }
  return {
    groups: [...groups.values()].sort((left, right) => compareAll(left.values, right.values)).map((group) => groupMessage(group, shown)),
    total,
  };
}

const byOutOfRange = (): Error =>
  invalidField('FIELD_OUT_OF_RANGE', 'by', `1 to ${MOST_BY} figures are allowed: "recipe", "target_sparsity"`);

/** The figures by which runs are grouped. */
export function figuresOfGroups(by: readonly string[]): Figure[] {
  if (by.length > MOST_BY) throw byOutOfRange();
  return by.map((name, index) => figureNamed(name, `by[${index}]`));
}

/** The values of a group in words. */
export const valueTexts = (values: readonly FigureValue[]): string[] => values.map((value) => (value === null ? '' : String(value)));

function furtherFigures(names: readonly string[]): Figure[] {
  if (names.length > MOST_FIGURES) throw invalidField('FIELD_OUT_OF_RANGE', 'figures', `up to ${MOST_FIGURES} figures are allowed`);
  return names.map((name, index) => figureNamed(name, `figures[${index}]`));
}

function completedOf(summary: RunSummary, figures: readonly Figure[]): Completed {
  const { run } = summary;
  const headline = headlineOf(run);
  return {
    runId: run.runId,
    name: run.name,
    perplexity: headline?.value ?? null,
    measure: measureOfPerplexity(headline) ?? '',
    sparsity: shareGone(run) ?? 0,
    seconds: run.trainingSeconds,
    figures: figures.map((figure) => numberOf(figure.of(summary))),
  };
}

/** Returns null for a text, since texts have no mean. */
const numberOf = (value: FigureValue): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : null);

function groupMessage({ values, runs, completed }: Group, figures: readonly Figure[]): v1.RunGroup {
  const measured = completed.filter(({ perplexity }) => perplexity !== null);
  // Perplexities of other texts or windows have no mean, and the lowest of them is not the best.
  const isOneMeasure = new Set(measured.map(({ measure }) => measure)).size === 1;
  const perplexity = isOneMeasure ? figureOf(completed.flatMap(({ perplexity: one }) => one ?? [])) : undefined;
  const best = measured.find((one) => one.perplexity === perplexity?.lowest);
  return {
    values: valueTexts(values),
    runs,
    runsCompleted: completed.length,
    perplexity,
    sparsity: figureOf(completed.map(({ sparsity }) => sparsity)),
    trainingSeconds: figureOf(completed.map(({ seconds }) => seconds)),
    figures: figures.map(({ name }, index) => ({ name, figure: figureOf(completed.flatMap((one) => one.figures[index] ?? [])) })),
    bestRunId: best?.runId ?? '',
    bestRunName: best?.name ?? '',
  };
}

/** Compares numbers by size and texts by their letters. Runs without the figure come last. */
export function compareAll(left: readonly FigureValue[], right: readonly FigureValue[]): number {
  for (const [index, value] of left.entries()) {
    const order = compared(value, right[index] ?? null);
    if (order !== 0) return order;
  }
  return 0;
}

function compared(left: FigureValue, right: FigureValue): number {
  if (left === right) return 0;
  if (left === null || right === null) return left === null ? 1 : -1;
  return left < right ? -1 : 1;
}

// Runs that are alike in some settings or figures, with the mean and spread of what they came to.
import { invalidField, type v1 } from '#protocol';
import { headlineOf } from '../pruning-run/aggregate/headline.js';
import { figureOf } from './mean-and-spread.js';
import type { RunSummary } from './projection/run-detail.js';
import { figureNamed, type FigureValue } from './run-figures.js';

const MOST_FIGURES = 4;
const MOST_GROUPS = 1_000;

/** Evaluations and settings of thousands of runs are not kept. */
interface Completed {
  runId: string;
  perplexity: number | null;
  sparsity: number;
  seconds: number;
}
interface Group {
  values: FigureValue[];
  runs: number;
  completed: Completed[];
}

/** @param runs read once, one after the other */
export function groupRuns(by: readonly string[], runs: Iterable<RunSummary>): v1.GroupRunsResponse {
  if (by.length === 0 || by.length > MOST_FIGURES)
    throw invalidField('FIELD_OUT_OF_RANGE', 'by', `1 to ${MOST_FIGURES} figures are allowed: "recipe", "target_sparsity"`);
  const figures = by.map((name, index) => figureNamed(name, `by[${index}]`));
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
    if (summary.run.status === 'completed') group.completed.push(completedOf(summary));
  }
  return { groups: [...groups.values()].sort((left, right) => compareAll(left.values, right.values)).map(groupMessage), total };
}

function completedOf({ run }: RunSummary): Completed {
  return {
    runId: run.runId,
    perplexity: headlineOf(run)?.value ?? null,
    sparsity: run.current?.hardSparsity ?? 0,
    seconds: run.trainingSeconds,
  };
}

function groupMessage({ values, runs, completed }: Group): v1.RunGroup {
  const perplexities = completed.flatMap(({ perplexity }) => perplexity ?? []);
  const perplexity = figureOf(perplexities);
  return {
    values: values.map((value) => (value === null ? '' : String(value))),
    runs,
    runsCompleted: completed.length,
    perplexity,
    sparsity: figureOf(completed.map(({ sparsity }) => sparsity)),
    trainingSeconds: figureOf(completed.map(({ seconds }) => seconds)),
    bestRunId: completed.find((one) => one.perplexity !== null && one.perplexity === perplexity?.lowest)?.runId ?? '',
  };
}

/** Numbers by their size, texts by their letters; runs without the figure come last. */
function compareAll(left: readonly FigureValue[], right: readonly FigureValue[]): number {
  for (const [index, value] of left.entries()) {
    const order = compared(value, right[index]!);
    if (order !== 0) return order;
  }
  return 0;
}

function compared(left: FigureValue, right: FigureValue): number {
  if (left === right) return 0;
  if (left === null || right === null) return left === null ? 1 : -1;
  return left < right ? -1 : 1;
}

// The orders of a list of runs: by a column of the narrow, indexed rows, or by any figure of the wide part. Among runs with equal values
// the id decides, so that a page token stands for one place in every order.
import { invalidField } from '#protocol';
import type { RunSummary } from './projection/run-detail.js';
import { NO_PERPLEXITY } from './projection/views-schema.js';
import type { PageKey } from './page-token.js';
import { figureNamed, type Figure, type FigureValue } from './run-figures.js';

/** The columns as SQL over a row of runs. The status is the one that run-list.ts shows. */
const COLUMNS = {
  launched_at: 'launched_at_ms',
  updated_at: 'updated_at_ms',
  id: 'run_id',
  name: 'name',
  perplexity: 'perplexity',
  sparsity: 'sparsity',
} as const;
/** The column of perplexity for a descending order. Runs without an evaluation come last in it, as they do in the ascending order. */
const PERPLEXITY_DESCENDING = `CASE WHEN perplexity >= ${NO_PERPLEXITY} THEN -1 ELSE perplexity END`;

export type RunOrder = { name: string; descending: boolean } & ({ column: string } | { figure: Figure });

/** @throws EspalierError that lists the orders */
export function orderOf(orderBy: string, statusColumn: string): RunOrder {
  const text = orderBy.trim() === '' ? 'launched_at desc' : orderBy.trim();
  const [, name = '', direction = 'asc'] = /^(.*?)(?:\s+(asc|desc))?$/s.exec(text) ?? [];
  const descending = direction === 'desc';
  if (name === 'status') return { name, descending, column: statusColumn };
  if (name === 'perplexity' && descending) return { name, descending, column: PERPLEXITY_DESCENDING };
  if (Object.hasOwn(COLUMNS, name)) return { name, descending, column: COLUMNS[name as keyof typeof COLUMNS] };
  const figure = figureOf(name);
  // Any two words may be a task and its metric, but "perplexity down" is a mistake.
  const isMistake = /\s/.test(name) && (Object.hasOwn(COLUMNS, firstWord(name)) || figureOf(firstWord(name)) !== null);
  if (figure !== null && !isMistake) return { name, descending, figure };
  throw invalidField(
    'FIELD_UNKNOWN_VALUE',
    'order_by',
    `${JSON.stringify(name)} is not an order: ${Object.keys(COLUMNS).join(', ')}, status, a setting, a figure, or a task with its metric ` +
      'is allowed, with " desc" to turn it round',
  );
}

const firstWord = (name: string): string => name.replace(/\s.*$/s, '');

function figureOf(name: string): Figure | null {
  try {
    return figureNamed(name, 'order_by');
  } catch {
    return null;
  }
}

export interface OrderedRun {
  runId: string;
  value: FigureValue;
}

/** All runs in the order of a figure. Runs without it come last in both directions. */
export function orderedBy({ of }: Figure, descending: boolean, runs: Iterable<RunSummary>): OrderedRun[] {
  const keys: OrderedRun[] = [];
  for (const summary of runs) keys.push({ runId: summary.run.runId, value: of(summary) });
  return keys.sort((left, right) => compareKeys(left, right, descending));
}

/** The runs that come after the end of the last page. */
export function behind(ordered: readonly OrderedRun[], key: PageKey, descending: boolean): OrderedRun[] {
  const first = ordered.findIndex((one) => compareKeys(one, key, descending) > 0);
  return first < 0 ? [] : ordered.slice(first);
}

function compareKeys(left: OrderedRun, right: OrderedRun, descending: boolean): number {
  if (left.value === null || right.value === null) {
    if (left.value !== right.value) return left.value === null ? 1 : -1;
  } else if (left.value !== right.value) return left.value < right.value === descending ? 1 : -1;
  if (left.runId === right.runId) return 0;
  return left.runId < right.runId === descending ? 1 : -1;
}

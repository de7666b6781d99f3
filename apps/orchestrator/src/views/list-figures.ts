// Answers ListFigures: some figures of many runs, in columns.
import { invalidField, type v1 } from '#protocol';
import type { RunSummary } from './projection/run-detail.js';
import { figureNamed, type FigureValue } from './run-figures.js';

const MOST_FIGURES = 64;
/** The most runs that a request may name, as many as are in the largest page of a list. */
const MOST_RUNS = 500;

/** @param runs the runs, which are read once, one after another */
export function listFigures(names: readonly string[], runIds: readonly string[], runs: Iterable<RunSummary>): v1.ListFiguresResponse {
  if (names.length > MOST_FIGURES) throw invalidField('FIELD_OUT_OF_RANGE', 'figures', `up to ${MOST_FIGURES} figures are allowed`);
  requireFew(runIds, 'run_ids');
  const figures = names.map((name, index) => figureNamed(name, `figures[${index}]`));
  const wanted = new Set(runIds);
  const found: { run: RunSummary['run']; values: FigureValue[] }[] = [];
  for (const summary of runs)
    if (wanted.size === 0 || wanted.has(summary.run.runId))
      found.push({ run: summary.run, values: figures.map((figure) => figure.of(summary)) });
  return {
    runIds: found.map(({ run }) => run.runId),
    names: found.map(({ run }) => run.name),
    revisions: found.map(({ run }) => BigInt(run.revision)),
    digestChains: found.map(({ run }) => run.chain),
    columns: figures.map(({ name, kind }, index) => {
      const values = found.map((one) => one.values[index] ?? null);
      return kind === 'number'
        ? { name, numbers: values.map((value) => (value === null ? NaN : Number(value))), texts: [] }
        : { name, numbers: [], texts: values.map((value) => (value === null ? '' : String(value))) };
    }),
  };
}

/** @throws EspalierError FIELD_OUT_OF_RANGE where a request names too many runs */
export function requireFew(runs: readonly unknown[], field: string): void {
  if (runs.length > MOST_RUNS) throw invalidField('FIELD_OUT_OF_RANGE', field, `up to ${MOST_RUNS} runs are allowed`);
}

import { EspalierError, invalidField } from '#protocol';
import { runNotFound } from '../pruning-run/pruning-run.errors.js';
import type { ViewsDatabase } from './views-database.js';

const SHORTEST_PREFIX = 4;

/** A run id, or the beginning of exactly one. */
export function resolveRunId(database: ViewsDatabase, text: string, field: string): string {
  if (text === '') throw invalidField('FIELD_REQUIRED', field, 'a run id, or the first 4 or more characters of one, is needed');
  const exact = database.prepare('SELECT run_id AS runId FROM runs WHERE run_id = ?').get(text) as { runId: string } | undefined;
  if (exact !== undefined) return exact.runId;
  if (text.length < SHORTEST_PREFIX) {
    throw invalidField('FIELD_OUT_OF_RANGE', field, `at least ${SHORTEST_PREFIX} characters of a run id are needed`);
  }
  const found = database
    .prepare('SELECT run_id AS runId FROM runs WHERE run_id >= ? AND run_id < ? ORDER BY run_id LIMIT 6')
    .all(text, text + '\u{10ffff}') as { runId: string }[];
  if (found.length === 1) return found[0]!.runId;
  if (found.length === 0) throw runNotFound(text, field);
  const shown = found
    .slice(0, 5)
    .map(({ runId }) => runId)
    .join(', ');
  throw new EspalierError(
    'RUN_ID_AMBIGUOUS',
    `${field}: ${text} is the beginning of several run ids: ${shown}${found.length > 5 ? ', ...' : ''}`,
    {
      violations: [{ field, description: 'more characters are needed', code: 'RUN_ID_AMBIGUOUS' }],
    },
  );
}

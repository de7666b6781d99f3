import { EspalierError, invalidField } from '#protocol';
import { runNotFound } from '../pruning-run/aggregate/pruning-run.errors.js';
import { SHORTEST_PREFIX } from '../pruning-run/aggregate/short-digests.js';
import type { ViewsDatabase } from './projection/views-database.js';

const SHOWN = 5;

interface Named {
  runId: string;
  name: string;
}

/** A run by its id, by its name where no other run has it, or by the beginning of its id where no other begins so; in this order. */
export function resolveRunId(database: ViewsDatabase, text: string, field: string): string {
  if (text === '')
    throw invalidField(
      'FIELD_REQUIRED',
      field,
      `a run is needed: its id, the first ${SHORTEST_PREFIX} or more characters of it, or its name`,
    );
  const select = (condition: string, ...values: string[]): Named[] =>
    database.prepare(`SELECT run_id AS runId, name FROM runs WHERE ${condition} LIMIT ${SHOWN + 1}`).all(...values) as Named[];
  const [exact] = select('run_id = ?', text);
  if (exact !== undefined) return exact.runId;
  const named = select("name = ? AND status <> 'deleted' ORDER BY launched_at_ms DESC", text); // a deleted run's name is free again
  if (named.length > 1) throw ambiguous(field, `several runs have the name ${JSON.stringify(text)}`, named);
  if (named.length === 1) return named[0]!.runId;
  if (text.length < SHORTEST_PREFIX) {
    if (/^[a-z2-7]+$/.test(text))
      throw invalidField('FIELD_OUT_OF_RANGE', field, `at least ${SHORTEST_PREFIX} characters of a run id are needed`);
    throw runNotFound(text, field);
  }
  const begun = select('run_id >= ? AND run_id < ? ORDER BY run_id', text, text + '\u{10ffff}');
  if (begun.length > 1) throw ambiguous(field, `${text} is the beginning of several run ids`, begun);
  if (begun.length === 0) throw runNotFound(text, field);
  return begun[0]!.runId;
}

function ambiguous(field: string, what: string, found: Named[]): EspalierError {
  const shown = found.slice(0, SHOWN).map(({ runId, name }) => (name === '' ? runId : `${runId} (${name})`));
  const all = `${shown.join(', ')}${found.length > SHOWN ? ', ...' : ''}`;
  return new EspalierError('RUN_ID_AMBIGUOUS', `${field}: ${what}: ${all}`, {
    violations: [{ field, description: `${what}: ${all}`, code: 'RUN_ID_AMBIGUOUS' }],
  });
}

import { EspalierError, invalidField } from '#protocol';
import { runNotFound } from '../pruning-run/aggregate/pruning-run.errors.js';
import { SHORTEST_PREFIX } from '../pruning-run/aggregate/short-digests.js';
import { prepared } from '../event-sourcing/read-models/prepared-statements.js';
import type { ViewsDatabase } from '../event-sourcing/read-models/views-file.js';

const SHOWN = 5;

interface Named {
  runId: string;
  name: string;
}

/** Finds a run by its id, by its name, or by the beginning of its id, if only one run is meant. */
export function resolveRunId(database: ViewsDatabase, text: string, field: string): string {
  if (text === '')
    throw invalidField(
      'FIELD_REQUIRED',
      field,
      `a run is needed: its id, the first ${SHORTEST_PREFIX} or more characters of it, or its name`,
    );
  const select: Select = (condition, ...values) =>
    prepared<Named>(database, `SELECT run_id AS runId, name FROM runs WHERE ${condition} LIMIT ${SHOWN + 1}`).all(...values);
  const [exact] = select('run_id = ?', text);
  if (exact !== undefined) return exact.runId;
  const named = select("name = ? AND status <> 'deleted' ORDER BY launched_at_ms DESC", text); // the name of a deleted run is free again
  if (named.length > 1) throw ambiguous(field, `several runs have the name ${JSON.stringify(text)}`, named);
  if (text.length < SHORTEST_PREFIX && named.length === 0) {
    const why = `no run has this name, and at least ${SHORTEST_PREFIX} characters of an id are needed`;
    throw runNotFound(text, field, /^[a-z2-7]+$/.test(text) ? why : '');
  }
  const begun = text.length < SHORTEST_PREFIX ? [] : runsBeginningWith(select, text);
  const [one] = named;
  if (one !== undefined) {
    const others = begun.filter(({ runId }) => runId !== one.runId);
    if (others.length === 0) return one.runId;
    throw ambiguous(field, `${text} is the name of one run and the beginning of another run's id`, [one, ...others]);
  }
  const [first, ...others] = begun;
  if (first === undefined) throw runNotFound(text, field);
  if (others.length > 0) throw ambiguous(field, `${text} is the beginning of several run ids`, begun);
  return first.runId;
}

type Select = (condition: string, ...values: string[]) => Named[];

function runsBeginningWith(select: Select, text: string): Named[] {
  return select('run_id >= ? AND run_id < ? ORDER BY run_id', text, text + '\u{10ffff}');
}

/** The other runs that have the name. The name of a deleted run is free. */
export function othersNamed(database: ViewsDatabase, name: string, runId: string): string[] {
  if (name === '') return [];
  const select = `SELECT run_id FROM runs WHERE name = ? AND run_id <> ? AND status <> 'deleted' ORDER BY launched_at_ms LIMIT ${SHOWN}`;
  return database.prepare<[string, string], string>(select).pluck().all(name, runId);
}

/** Refuses a name that could be taken for another run's id, since it would hide that run. @throws EspalierError RUN_NAME_INVALID */
export function requireOwnName(database: ViewsDatabase, name: string): void {
  if (name === '') return; // the run has no name
  if (name.trim() === '') throw invalidField('RUN_NAME_INVALID', 'name', 'is blank; letters or digits are needed, or no name at all');
  if (name.length < SHORTEST_PREFIX) return;
  const row = database.prepare<[string, string], string>('SELECT run_id FROM runs WHERE run_id >= ? AND run_id < ? LIMIT 1').pluck();
  const runId = row.get(name, name + '\u{10ffff}');
  if (runId === undefined) return;
  const what = runId === name ? 'the id' : 'the beginning of the id';
  throw invalidField('RUN_NAME_INVALID', 'name', `${JSON.stringify(name)} is ${what} of run ${runId}; any other name is allowed`);
}

function ambiguous(field: string, what: string, found: Named[]): EspalierError {
  const shown = found.slice(0, SHOWN).map(({ runId, name }) => (name === '' ? runId : `${runId} (${name})`));
  const all = `${shown.join(', ')}${found.length > SHOWN ? ', ...' : ''}; give the whole id of the run`;
  return new EspalierError('RUN_ID_AMBIGUOUS', `${field}: ${what}: ${all}`, {
    violations: [{ field, description: `${what}: ${all}`, code: 'RUN_ID_AMBIGUOUS' }],
  });
}

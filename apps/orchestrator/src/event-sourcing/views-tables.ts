// Tables whose rows check themselves. Each row keeps a sum over its values, which SQLite computes whenever the row is written. Readers ask
// the view that has the table's name; a row there whose sum does not fit ends the query. Writers write to the table behind it.
import { crc32 } from 'node:zlib';
import type Database from 'better-sqlite3';

export interface ViewsTable {
  name: string;
  /** Each begins with the column's name: "revision INTEGER NOT NULL". */
  columns: readonly string[];
  /** "PRIMARY KEY (run_id, revision)". */
  constraints?: string;
  withoutRowid?: boolean;
  /** "CREATE INDEX ... ON rowsOf(name) (...)". */
  indexes?: readonly string[];
}

/** The table behind the view: for writing, and for counting and ordering, which show no value of a row. */
export const rowsOf = (table: string): string => `${table}_rows`;

export function sqlOf({ name, columns, constraints, withoutRowid = false, indexes = [] }: ViewsTable): string {
  const names = namesOf(columns);
  const sum = `sum INTEGER NOT NULL GENERATED ALWAYS AS (row_sum(${names})) STORED`;
  // The sum is not in the view's own condition, where SQLite would replace a column by the value that a query compares it with.
  const whole = `whole INTEGER GENERATED ALWAYS AS (is_whole('${name}', sum, ${names})) VIRTUAL`;
  const parts = [...columns, sum, whole, ...(constraints === undefined ? [] : [constraints])];
  return [
    `CREATE TABLE ${rowsOf(name)} (${parts.join(', ')}) STRICT${withoutRowid ? ', WITHOUT ROWID' : ''};`,
    `CREATE VIEW ${name} AS SELECT ${names} FROM ${rowsOf(name)} WHERE whole;`,
    ...indexes.map((index) => `${index};`),
  ].join('\n');
}

export function namesOf(columns: readonly string[]): string {
  return columns.map((column) => column.split(' ', 1)[0]).join(', ');
}

/** The functions that the tables and views call; a connection without them can neither read nor write them. */
export function addSums(database: Database.Database, damaged: (problem: string) => Error): void {
  database.function('row_sum', { deterministic: true, varargs: true }, (...values: unknown[]) => sumOf(values));
  database.function('is_whole', { deterministic: true, varargs: true }, (table: unknown, sum: unknown, ...values: unknown[]) => {
    if (sum === sumOf(values)) return 1;
    throw damaged(`a row of ${String(table)} has other values than were written`);
  });
}

/** The first problem of a whole file; null: no problem. @throws errors that pass */
export function problemIn(database: Database.Database, tables: readonly string[]): string | null {
  addSums(database, (problem) => new Error(problem));
  try {
    const found = String(database.pragma('integrity_check(1)', { simple: true }));
    if (found !== 'ok') return found;
    for (const table of tables) database.prepare(`SELECT count(*) FROM ${table}`).get(); // reads each row, and so checks it
    return null;
  } catch (error) {
    if (mayPass(error)) throw error;
    return (error as Error).message;
  }
}

/** A full disk, or another process that has the file: the file itself may be whole. */
export function mayPass(error: unknown): boolean {
  return /^SQLITE_(FULL|IOERR|BUSY|LOCKED|CANTOPEN|NOMEM|PERM|AUTH|READONLY_DIRECTORY)/.test(String((error as { code?: unknown }).code));
}

function sumOf(values: unknown[]): number {
  let sum = 0;
  const plain = values.map((value) => {
    if (!Buffer.isBuffer(value)) return value;
    if (value.length > 0) sum = crc32(value, sum);
    return { bytes: value.length }; // no text or number looks so
  });
  return crc32(JSON.stringify(plain), sum);
}

// Tables whose rows check themselves. Each row keeps a sum over its values, which SQLite computes whenever it writes the row. Readers query
// a view that has the table's name, and a row that does not fit its sum ends the query. Writers write to the table behind the view.
import { crc32 } from 'node:zlib';
import type Database from 'better-sqlite3';

export interface ViewsTable {
  name: string;
  /** The columns as SQL, each beginning with its name: "revision INTEGER NOT NULL". */
  columns: readonly string[];
  /** Such as "PRIMARY KEY (run_id, revision)". */
  constraints?: string;
  withoutRowid?: boolean;
  /** Such as "CREATE INDEX ... ON rowsOf(name) (...)". */
  indexes?: readonly string[];
}

/** The table behind a view. It serves for writing, and for counting and ordering, which show no value of a row. */
export const rowsOf = (table: string): string => `${table}_rows`;

export function sqlOf({ name, columns, constraints, withoutRowid = false, indexes = [] }: ViewsTable): string {
  const names = namesOf(columns);
  const sum = `sum INTEGER NOT NULL GENERATED ALWAYS AS (row_sum(${names})) STORED`;
  // The check is a column of its own. In the view's condition SQLite would replace a column by the value that a query compares it with.
  const whole = `whole INTEGER GENERATED ALWAYS AS (is_whole('${name}', sum, ${names})) VIRTUAL`;
  const parts = [...columns, sum, whole, ...(constraints === undefined ? [] : [constraints])];
  return [
    `CREATE TABLE ${rowsOf(name)} (${parts.join(', ')}) STRICT${withoutRowid ? ', WITHOUT ROWID' : ''};`,
    `CREATE VIEW ${name} AS SELECT ${names} FROM ${rowsOf(name)} WHERE whole;`,
    ...indexes.map((index) => `${index};`),
  ].join('\n');
}

function namesOf(columns: readonly string[]): string {
  return columns.map((column) => column.split(' ', 1)[0]).join(', ');
}

/** Adds the functions that the tables and views call. A connection without them can neither read nor write the tables. */
export function addSums(database: Database.Database, damaged: (problem: string) => Error): void {
  database.function('row_sum', { deterministic: true, varargs: true }, (...values: unknown[]) => sumOf(values));
  database.function('is_whole', { deterministic: true, varargs: true }, (table: unknown, sum: unknown, ...values: unknown[]) => {
    if (sum === sumOf(values)) return 1;
    throw damaged(`a row of ${String(table)} has other values than were written`);
  });
}

/** The first problem of a whole file, or null. @throws errors that may pass */
export function problemIn(database: Database.Database, tables: readonly string[]): string | null {
  addSums(database, (problem) => new Error(problem));
  try {
    const found = String(database.pragma('integrity_check(1)', { simple: true }));
    if (found !== 'ok') return found;
    for (const table of tables) database.prepare(`SELECT count(*) FROM ${table}`).get(); // reads each row, which checks its sum
    return null;
  } catch (error) {
    if (mayPass(error)) throw error;
    return (error as Error).message;
  }
}

/** Tells whether the error may pass, as with a full disk or a file that another process holds. The file may then be whole. */
export function mayPass(error: unknown): boolean {
  return /^SQLITE_(FULL|IOERR|BUSY|LOCKED|CANTOPEN|NOMEM|PERM|AUTH|READONLY_DIRECTORY)/.test(String((error as { code?: unknown }).code));
}

function sumOf(values: unknown[]): number {
  let sum = 0;
  values.forEach((value, index) => {
    if (!Buffer.isBuffer(value)) return;
    if (value.length > 0) sum = crc32(value, sum);
    values[index] = { bytes: value.length }; // no text or number is written like this
  });
  return crc32(JSON.stringify(values), sum);
}

// Keeps the statements of queries that are asked again and again. SQLite takes longer to prepare such a statement than to run it.
import type Database from 'better-sqlite3';
import type { ViewsDatabase } from './views-file.js';

/** The ways to ask a shared statement: its rows have all been read when these return. */
export type Prepared<Row> = Pick<Database.Statement<unknown[], Row>, 'get' | 'all'>;

/** By a database and a statement's text. A file of views that is opened again is another database. */
const statements = new WeakMap<ViewsDatabase, Map<string, Database.Statement>>();

/** Returns the statement of a text, which is prepared once for each database. All callers with this text share it. */
export function prepared<Row>(database: ViewsDatabase, text: string): Prepared<Row> {
  const ofDatabase = statements.get(database) ?? new Map<string, Database.Statement>();
  const statement = ofDatabase.get(text) ?? database.prepare(text);
  statements.set(database, ofDatabase.set(text, statement));
  return statement as Prepared<Row>;
}

// A file of read models: an SQLite database with the position up to which it holds the store's events. All its content follows from the
// event store, so it may be deleted at any time. The disk may change its bytes, so its rows check themselves, and a damaged file is made
// again.
import Database from 'better-sqlite3';
import { existsSync, rmSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { EventCorruptError, type EventStore, type Position } from '#event-store';
import { programFile } from '#files';
import { EspalierError } from '#protocol';
import { VIEWS_JOURNAL_BYTES } from './journal-size.js';
import { addSums, mayPass, rowsOf, sqlOf, type ViewsTable } from './views-tables.js';
import type { ViewsCheck } from './views-check-worker.js';

export type ViewsDatabase = Database.Database;

export interface ViewsSchema {
  /** Must grow with every change of a table or of a fold. A file with another number is made again. */
  version: number;
  tables: readonly ViewsTable[];
}

/** The error of a file whose content differs from the bytes that were written to it. */
export class ViewsDamagedError extends EspalierError {
  constructor(problem: string, options: ErrorOptions = {}) {
    super('VIEW_LAGGING', `the views' file is damaged (${problem}) and is made again from the events; try again in a moment`, options);
  }
}

const POSITION_TABLE: ViewsTable = {
  name: 'projection',
  columns: [
    'only_row INTEGER PRIMARY KEY CHECK (only_row = 1)',
    'schema_version INTEGER NOT NULL',
    'position_commit TEXT',
    'position_prepare TEXT',
    'events INTEGER NOT NULL',
    'last_stream TEXT',
    'last_revision INTEGER',
    'last_event_id TEXT',
  ],
};

/** The reason why an empty file replaced the existing one. */
export type EmptyBecause = 'missing' | 'otherTables' | 'damaged';

/**
 * Opens the file. A file of another schema, or one that is damaged, is replaced by an empty one.
 * @param onDamage called with damage that a query meets later
 * @param onEmpty called where the file begins empty
 */
export function openViewsFile(
  file: string,
  schema: ViewsSchema,
  onDamage: (error: ViewsDamagedError) => void = () => undefined,
  onEmpty: (because: EmptyBecause) => void = () => undefined,
): ViewsDatabase {
  const isThere = existsSync(file);
  const whole = openWhole(file, schema);
  if (typeof whole !== 'string') return reportingDamage(whole, onDamage);
  onEmpty(isThere ? whole : 'missing');
  removeViewsFile(file);
  const fresh = reportingDamage(open(file), onDamage);
  fresh.exec(`BEGIN; ${schemaSql(schema)}
    INSERT INTO ${rowsOf('projection')} VALUES (1, ${schema.version}, NULL, NULL, 0, NULL, NULL, NULL); COMMIT;`);
  return fresh;
}

/** Opens the file, or returns the reason why it can't be used. */
function openWhole(file: string, schema: ViewsSchema): ViewsDatabase | EmptyBecause {
  let opened: ViewsDatabase | null = null;
  let because: EmptyBecause = 'damaged';
  try {
    opened = open(file);
    because = otherVersion(opened, schema) ? 'otherTables' : 'damaged';
    if (isOfSchema(opened, schema) && canBeWritten(opened)) return opened;
  } catch (error) {
    if (mayPass(error)) throw error;
  }
  opened?.close();
  return because;
}

export function removeViewsFile(file: string): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(file + suffix, { force: true });
}

function schemaSql(schema: ViewsSchema): string {
  return tablesOf(schema).map(sqlOf).join('\n');
}

function tablesOf({ tables }: ViewsSchema): ViewsTable[] {
  return [...tables, POSITION_TABLE];
}

/**
 * Reads the whole file on another thread. Returns its first problem, or null where every row is as it was written and every index leads to
 * all rows.
 */
export function problemInViewsFile(file: string, schema: ViewsSchema): Promise<string | null> {
  if (!existsSync(file)) return Promise.resolve(`${file} was removed under the running server`);
  const workerData: ViewsCheck = { file, tables: tablesOf(schema).map(({ name }) => name) };
  return new Promise((resolve, reject) => {
    const worker = new Worker(programFile(new URL('./views-check-worker.js', import.meta.url)), { workerData });
    worker.once('message', (problem: string | null) => resolve(problem));
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error('the check of the views ended without a result')));
  });
}

function open(file: string): ViewsDatabase {
  const database = new Database(file);
  try {
    database.pragma('journal_mode = WAL');
    // A crash may lose the newest commits. They are read again from the event store, since each commit holds its position, too.
    database.pragma('synchronous = NORMAL');
    database.pragma('cache_size = -65536');
    // pages; each checkpoint waits for the disk
    database.pragma(`wal_autocheckpoint = ${VIEWS_JOURNAL_BYTES / 4096}`);
    addSums(database, (problem) => new ViewsDamagedError(problem));
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Makes every statement report damage that it meets from now on: a row that does not fit its sum, or pages that are not tables. */
function reportingDamage(database: ViewsDatabase, onDamage: (error: ViewsDamagedError) => void): ViewsDatabase {
  const met = (error: unknown): unknown => {
    const damage = damageIn(error);
    if (damage !== null) onDamage(damage);
    return damage ?? error;
  };
  const prepare = reporting(database.prepare.bind(database) as (sql: string) => Database.Statement, met);
  const prepareReporting = (sql: string): Database.Statement => {
    const statement = prepare(sql);
    for (const name of ['run', 'get', 'all'] as const) statement[name] = reporting(statement[name].bind(statement), met) as never;
    const iterate = statement.iterate.bind(statement);
    statement.iterate = function* (...values: unknown[]) {
      try {
        yield* iterate(...values);
      } catch (error) {
        throw met(error);
      }
    };
    return statement;
  };
  database.prepare = prepareReporting as never;
  return database;
}

function reporting<Values extends unknown[], Result>(work: (...values: Values) => Result, met: (error: unknown) => unknown) {
  return (...values: Values): Result => {
    try {
      return work(...values);
    } catch (error) {
      throw met(error);
    }
  };
}

function damageIn(error: unknown): ViewsDamagedError | null {
  if (error instanceof ViewsDamagedError) return error;
  const code = String((error as { code?: unknown }).code);
  const isDamage = code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB';
  return isDamage ? new ViewsDamagedError((error as Error).message, { cause: error }) : null;
}

/** @throws where a byte in the file's head makes it read-only; nothing is written */
function canBeWritten(database: ViewsDatabase): true {
  database.exec(`BEGIN IMMEDIATE; UPDATE ${rowsOf('projection')} SET only_row = only_row; ROLLBACK;`);
  return true;
}

/** Compares the schema's own text in the file, since a changed byte in it may change the meaning of every row. */
function isOfSchema(database: ViewsDatabase, schema: ViewsSchema): boolean {
  const declared = declarationsIn(database);
  const wanted = new Database(':memory:');
  try {
    addSums(wanted, (problem) => new ViewsDamagedError(problem));
    wanted.exec(schemaSql(schema));
    if (JSON.stringify(declared) !== JSON.stringify(declarationsIn(wanted))) return false;
  } finally {
    wanted.close();
  }
  return versionIn(database) === schema.version;
}

function versionIn(database: ViewsDatabase): number | undefined {
  return database.prepare<[], number>('SELECT schema_version FROM projection').pluck().get();
}

/** Tells whether the file says of itself that another release wrote it. */
function otherVersion(database: ViewsDatabase, { version }: ViewsSchema): boolean {
  const found = versionIn(database);
  return found !== undefined && found !== version;
}

function declarationsIn(database: Database.Database): unknown[] {
  return database.prepare('SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name').all();
}

export function readPosition(database: ViewsDatabase): { position: Position | null; events: number } {
  const row = database.prepare('SELECT position_commit AS c, position_prepare AS p, events FROM projection').get() as {
    c: string | null;
    p: string | null;
    events: number;
  };
  return { position: row.c === null || row.p === null ? null : { commit: BigInt(row.c), prepare: BigInt(row.p) }, events: row.events };
}

/** Tells whether the store holds the last event that was projected. After a restore, or with another store, it does not. */
export async function isOfStore(database: ViewsDatabase, store: EventStore): Promise<boolean> {
  const { stream, revision, id } = database
    .prepare('SELECT last_stream AS stream, last_revision AS revision, last_event_id AS id FROM projection')
    .get() as { stream: string | null; revision: number; id: string };
  if (stream === null) return true;
  try {
    for await (const event of store.read(stream, { from: BigInt(revision), maxCount: 1 }))
      return event.revision === BigInt(revision) && event.id === id;
  } catch (error) {
    if (!(error instanceof EventCorruptError)) throw error;
  }
  return false;
}

// A file of read models: SQLite, with the position up to which it holds the store's events. It holds nothing that the event store does not,
// so it may be deleted at any time.
import Database from 'better-sqlite3';
import { rmSync } from 'node:fs';
import { EventCorruptError, type EventStore, type Position } from '#event-store';

export type ViewsDatabase = Database.Database;

export interface ViewsSchema {
  /** Grows with every change of a table or of a fold: a file with another number is made anew. */
  version: number;
  /** The statements that make the tables. */
  tables: string;
}

const POSITION_TABLE = `
  CREATE TABLE projection (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1), schema_version INTEGER NOT NULL,
    position_commit TEXT, position_prepare TEXT, events INTEGER NOT NULL,
    last_stream TEXT, last_revision INTEGER, last_event_id TEXT
  ) STRICT;
`;

/** Opens the file; one of another schema, or one that is damaged, is replaced by an empty one. */
export function openViewsFile(file: string, { version, tables }: ViewsSchema): ViewsDatabase {
  try {
    const opened = open(file);
    if (schemaVersion(opened) === version) return opened;
    opened.close();
  } catch (error) {
    if (!isDamage(error)) throw error;
  }
  removeViewsFile(file);
  const fresh = open(file);
  fresh.exec(`BEGIN; ${tables} ${POSITION_TABLE} INSERT INTO projection VALUES (1, ${version}, NULL, NULL, 0, NULL, NULL, NULL); COMMIT;`);
  return fresh;
}

export function removeViewsFile(file: string): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(file + suffix, { force: true });
}

function open(file: string): ViewsDatabase {
  const database = new Database(file);
  database.pragma('journal_mode = WAL');
  // A lost tail is read again from the event store, since the position is part of the same transaction.
  database.pragma('synchronous = NORMAL');
  database.pragma('cache_size = -65536');
  return database;
}

function schemaVersion(database: ViewsDatabase): number | null {
  const table = database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'projection'").get();
  if (table === undefined) return null;
  const row = database.prepare('SELECT schema_version AS version FROM projection').get() as { version: number } | undefined;
  return row?.version ?? null;
}

function isDamage(error: unknown): boolean {
  const code = String((error as { code?: unknown }).code);
  return code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB';
}

export function readPosition(database: ViewsDatabase): { position: Position | null; events: number } {
  const row = database.prepare('SELECT position_commit AS c, position_prepare AS p, events FROM projection').get() as {
    c: string | null;
    p: string | null;
    events: number;
  };
  return { position: row.c === null || row.p === null ? null : { commit: BigInt(row.c), prepare: BigInt(row.p) }, events: row.events };
}

/** Whether the store holds the last event that was projected: not so after a restore, or when it is another store. */
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

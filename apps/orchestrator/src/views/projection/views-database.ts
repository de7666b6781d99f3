// The read models: one SQLite file that holds nothing that the event store does not, so that it may be deleted at any time.
import Database from 'better-sqlite3';
import { rmSync } from 'node:fs';
import { EventCorruptError, type EventStore, type Position } from '#event-store';

/** Grows with every change of a table or of a fold: another number in the file means building it anew. */
export const VIEWS_SCHEMA_VERSION = 10;

const TABLES = `
  CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, paused_by TEXT, model_path TEXT NOT NULL, parent_run_id TEXT,
    forked_at_step INTEGER NOT NULL, launched_at_ms INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL,
    lease_until_ms INTEGER, perplexity REAL NOT NULL, hard_sparsity REAL NOT NULL, target_sparsity REAL NOT NULL,
    revision INTEGER NOT NULL, tags TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX runs_by_launch ON runs (launched_at_ms, run_id);
  CREATE INDEX runs_by_update ON runs (updated_at_ms, run_id);
  CREATE INDEX runs_by_name ON runs (name, run_id);
  CREATE INDEX runs_by_perplexity ON runs (perplexity, run_id);
  CREATE INDEX runs_by_sparsity ON runs (hard_sparsity, run_id);
  CREATE INDEX runs_by_parent ON runs (parent_run_id) WHERE parent_run_id IS NOT NULL;
  CREATE INDEX runs_by_status ON runs (status);
  CREATE TABLE run_details (run_id TEXT PRIMARY KEY, detail TEXT NOT NULL, summary TEXT NOT NULL) STRICT;
  CREATE TABLE teachers (
    run_id TEXT NOT NULL, revision INTEGER NOT NULL, mark INTEGER NOT NULL, step INTEGER NOT NULL, owner_run_id TEXT NOT NULL,
    expected_sparsity REAL NOT NULL, hard_sparsity REAL NOT NULL, state_digest TEXT NOT NULL, bytes INTEGER NOT NULL,
    at TEXT NOT NULL, abandoned INTEGER NOT NULL, inherited INTEGER NOT NULL, discarded INTEGER NOT NULL,
    PRIMARY KEY (run_id, step, mark, revision)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE segments (
    run_id TEXT NOT NULL, revision INTEGER NOT NULL, branch INTEGER NOT NULL, first_step INTEGER NOT NULL,
    end_step INTEGER NOT NULL, metrics_revision INTEGER NOT NULL,
    PRIMARY KEY (run_id, revision)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE metrics (
    run_id TEXT NOT NULL, revision INTEGER NOT NULL, attempt INTEGER NOT NULL, branch INTEGER NOT NULL, rows BLOB NOT NULL,
    PRIMARY KEY (run_id, revision)
  ) STRICT;
  CREATE TABLE mask_changes (
    run_id TEXT NOT NULL, revision INTEGER NOT NULL, closed_before TEXT, changed TEXT NOT NULL, PRIMARY KEY (run_id, revision)
  ) STRICT;
  CREATE TABLE needed_artifacts (run_id TEXT NOT NULL, digest TEXT NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (run_id, digest))
    STRICT, WITHOUT ROWID;
  CREATE INDEX needed_by_digest ON needed_artifacts (digest);
  CREATE TABLE discarded_artifacts (
    digest TEXT NOT NULL, run_id TEXT NOT NULL, revision INTEGER NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (digest, run_id, revision)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE projection (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1), schema_version INTEGER NOT NULL,
    position_commit TEXT, position_prepare TEXT, events INTEGER NOT NULL,
    last_stream TEXT, last_revision INTEGER, last_event_id TEXT
  ) STRICT;
`;

/** A run without an evaluation sorts behind all that have one. */
export const NO_PERPLEXITY = 1e308;

export type ViewsDatabase = Database.Database;

/** Opens the file; one of another schema, or one that is damaged, is replaced by an empty one. */
export function openViewsDatabase(file: string): ViewsDatabase {
  try {
    const opened = open(file);
    if (schemaVersion(opened) === VIEWS_SCHEMA_VERSION) return opened;
    opened.close();
  } catch (error) {
    if (!isDamage(error)) throw error;
  }
  removeDatabase(file);
  const fresh = open(file);
  fresh.exec(`BEGIN; ${TABLES} INSERT INTO projection VALUES (1, ${VIEWS_SCHEMA_VERSION}, NULL, NULL, 0, NULL, NULL, NULL); COMMIT;`);
  return fresh;
}

export function removeDatabase(file: string): void {
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

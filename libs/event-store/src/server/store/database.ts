import Database from 'better-sqlite3';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { faultOfFolder, makeFolder, ownVersion } from '#files';
import { isRestoreUnfinished } from './restore-steps.js';
import { StoreError, toStoreError } from './store-error.js';
import { DATABASE_FILE } from './store-files.js';

const LOCK_FILE = 'lock.db';
/** Grows with each change of the schema. Builds before release 0.1.0 had version 1. */
const SCHEMA_VERSION = 2;
/** The row of store_info that names the release which gave the store its schema. */
const SCHEMA_RELEASE = 'schema_release';

/**
 * `position` orders all events. It grows by the size of each event, so it is sparse like a byte offset. `revision` counts within a stream.
 * `checksum` covers every other column, so a flipped byte in the file is detected. A stream's last revision is not stored: the index gives
 * it, and so the two can't disagree.
 */
export const SCHEMA = `
  CREATE TABLE store_info (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
  );
  CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    stream_id INTEGER NOT NULL REFERENCES streams (id),
    revision INTEGER NOT NULL,
    event_id BLOB NOT NULL,
    type TEXT NOT NULL,
    is_json INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    data BLOB NOT NULL,
    metadata BLOB NOT NULL,
    checksum INTEGER NOT NULL
  );
  CREATE UNIQUE INDEX events_by_revision ON events (stream_id, revision);
  CREATE INDEX events_by_id ON events (stream_id, event_id);
`;

/** Allows one process per folder. The lock is a file lock of the operating system, so it ends with its holder. */
export class FolderLock {
  private constructor(private readonly database: Database.Database) {}

  static acquire(folder: string): FolderLock {
    let database: Database.Database | undefined;
    try {
      database = new Database(join(folder, LOCK_FILE), { timeout: 0 });
      database.exec('BEGIN EXCLUSIVE');
      return new FolderLock(database);
    } catch (error) {
      database?.close();
      const named = toStoreError(error);
      if (named.code !== 'STORE_LOCKED') throw withCause(named, folder);
      throw new StoreError('STORE_LOCKED', `another process has the event store in "${folder}" open`, { cause: error });
    }
  }

  release(): void {
    this.database.close();
  }
}

export function createFolder(folder: string): void {
  try {
    makeFolder(folder);
  } catch (error) {
    const named = toStoreError(error);
    if (named.code !== 'STORE_FAILED') throw named;
    throw new StoreError('STORE_FOLDER_UNUSABLE', `"${folder}" can't be the folder of an event store: ${named.message}`, {
      cause: error,
    });
  }
}

/** Opens the only connection that writes. The caller must hold the folder's lock. */
export function openForWriting(folder: string, maxDatabaseBytes?: number): Database.Database {
  const file = join(folder, DATABASE_FILE);
  let database: Database.Database | undefined;
  try {
    // A connection that may write would change the files of a later release even if it only looks at the version.
    if (existsSync(file)) openFileForReading(file).close();
    database = new Database(file, { timeout: 5000 });
    database.pragma('journal_mode = WAL');
    // FULL makes every commit durable before it is acknowledged, so it survives a power cut.
    database.pragma('synchronous = FULL');
    // Checkpoints are made by the checkpointer's thread, so that appends don't wait for them.
    database.pragma('wal_autocheckpoint = 0');
    database.pragma('cache_size = -65536');
    database.pragma('temp_store = MEMORY');
    if (database.pragma('user_version', { simple: true }) === 0) createSchema(database);
    emptyLog(database);
    if (maxDatabaseBytes !== undefined) {
      const pageBytes = database.pragma('page_size', { simple: true }) as number;
      database.pragma(`max_page_count = ${Math.ceil(maxDatabaseBytes / pageBytes)}`);
    }
    return database;
  } catch (error) {
    database?.close();
    throw withCause(toStoreError(error), folder);
  }
}

/** Adds the cause to an error of SQLite, which tells only that a file can't be opened. */
function withCause(error: StoreError, folder: string): StoreError {
  const cause = error.code === 'STORE_FOLDER_UNUSABLE' ? faultOfFolder(folder) : null;
  return cause === null ? error : new StoreError(error.code, `the event store in ${folder} can't be opened: ${cause}`, { cause: error });
}

/**
 * Moves the schema and the log of an earlier process into the database file at once, so that a log that is lost later holds nothing old.
 */
function emptyLog(database: Database.Database): void {
  try {
    database.pragma('wal_checkpoint(PASSIVE)');
  } catch {
    // The disk is full: the checkpointer tries again.
  }
}

/** Opens an existing store for statistics, backups and checks, also while a server has it open. */
export function openForReading(folder: string): Database.Database {
  const file = join(folder, DATABASE_FILE);
  if (isRestoreUnfinished(folder)) {
    throw new StoreError(
      'STORE_RESTORE_UNFINISHED',
      `a restore of the event store in "${folder}" was cut short: the next start of the server finishes it`,
    );
  }
  if (!existsSync(file)) throw new StoreError('STORE_NOT_FOUND', `there is no event store in "${folder}"`);
  return openFileForReading(file);
}

export function openFileForReading(file: string): Database.Database {
  let database: Database.Database | undefined;
  try {
    database = new Database(file, { readonly: true, fileMustExist: true, timeout: 5000 });
    checkVersion(database, file);
    return database;
  } catch (error) {
    database?.close();
    throw toStoreError(error);
  }
}

function checkVersion(database: Database.Database, file: string): void {
  const version = database.pragma('user_version', { simple: true }) as number;
  if (version === 0 || version === SCHEMA_VERSION) return; // 0: it has no tables yet
  if (version < SCHEMA_VERSION)
    throw new StoreError(
      'STORE_SCHEMA_TOO_OLD',
      `the event store "${file}" is of a build before release 0.1.0: its schema has version ${version}, and this release reads ` +
        `${SCHEMA_VERSION}. Nothing is changed. Use another folder here, or that build for this one`,
    );
  const release = releaseOf(database);
  // Two builds between releases can have one name and different schemas.
  const isOfSameName = release === ownVersion();
  const origin = isOfSameName ? `a later build of release ${release}` : `a later release${release === undefined ? '' : `, ${release}`}`;
  throw new StoreError(
    'STORE_SCHEMA_TOO_NEW',
    `the event store "${file}" is of ${origin}: its schema has version ${version}, and this ` +
      `${isOfSameName ? 'build' : `release, ${ownVersion()},`} reads up to ${SCHEMA_VERSION}. Nothing is changed. Use that ` +
      `${isOfSameName ? 'build' : 'release'} or a later one, or restore a backup from before the update into another folder ` +
      '(espalier store restore)',
  );
}

/** The release as far as a store tells it. The table that has it may be another one in a later schema. */
function releaseOf(database: Database.Database): string | undefined {
  try {
    return database.prepare<[string], string>('SELECT value FROM store_info WHERE key = ?').pluck().get(SCHEMA_RELEASE);
  } catch {
    return undefined;
  }
}

function createSchema(database: Database.Database): void {
  database.transaction(() => {
    database.exec(SCHEMA);
    const put = database.prepare('INSERT INTO store_info (key, value) VALUES (?, ?)');
    put.run('store_id', randomUUID());
    put.run('created_at', new Date().toISOString());
    put.run(SCHEMA_RELEASE, ownVersion());
    database.pragma(`user_version = ${SCHEMA_VERSION}`);
  })();
}

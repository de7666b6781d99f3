import { constants, closeSync, copyFileSync, existsSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { basename, dirname, join, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { asOwnerOnly, makeFolder, restrictToOwner, timeAt } from '#files';
import { EmbeddedStoreError } from '../event-store.errors.js';
import { createFolder, FolderLock, openFileForReading, openForReading } from '../server/store/database.js';
import { finishRestore, INCOMING_FILE, isRestoreUnfinished, makeDurable, noteRestore } from '../server/store/restore-steps.js';
import { toStoreError } from '../server/store/store-error.js';
import { DATABASE_FILE } from '../server/store/store-files.js';
import { verifyDatabase, type StoreProblem, type VerifyReport } from '../server/store/verify.js';

export type { StoreProblem, VerifyReport };

export interface BackupReport {
  file: string;
  bytes: number;
  events: number;
  streams: number;
  /** The position of the last event in the backup. */
  endPosition: number;
}

export interface EmbeddedEventStoreStats {
  folder: string;
  /** Whether a server has the store open at the moment. */
  isOpen: boolean;
  storeId: string;
  schemaVersion: number;
  createdAt: string;
  events: number;
  streams: number;
  endPosition: number;
  lastEventAt: string | undefined;
  databaseBytes: number;
  walBytes: number;
}

export interface BackupOptions {
  folder: string;
  /** A file that is not there yet. */
  file: string;
}

const ALL_PAGES = 2 ** 30;

/**
 * Copies the store into one file through SQLite's backup interface, while its server goes on. The copy holds the store as it was at one
 * moment. It is read back and checked in full before it gets its name.
 * @throws EmbeddedStoreError BACKUP_FILE_EXISTS, BACKUP_FILE_UNUSABLE, STORE_NOT_FOUND, STORE_DISK_FULL, BACKUP_DAMAGED
 */
export async function backupEmbeddedEventStore(options: BackupOptions): Promise<BackupReport> {
  const file = resolve(options.file);
  if (existsSync(file)) throw new EmbeddedStoreError('BACKUP_FILE_EXISTS', `"${file}" exists already`);
  const partial = `${file}.${randomUUID().slice(0, 8)}.partial`;
  makePlace(partial, file);
  try {
    await copyDatabase(options.folder, partial);
    const report = checkBackup(partial, `the store in "${options.folder}" is damaged; no backup was made`);
    makeDurable(partial);
    renameSync(partial, file);
    makeDurable(dirname(file));
    const { events, streams, endPosition } = report;
    return { file, bytes: statSync(file).size, events, streams, endPosition };
  } catch (error) {
    rmSync(partial, { force: true });
    throw translated(error);
  }
}

/**
 * Replaces a store that no server has open by a backup. The existing store is kept in a folder beside it.
 * @throws EmbeddedStoreError STORE_EXISTS, STORE_LOCKED, BACKUP_DAMAGED, STORE_SCHEMA_TOO_NEW
 */
export function restoreEmbeddedEventStore(options: RestoreOptions): RestoreReport {
  return asOwnerOnly(() => restore(options));
}

export interface RestoreOptions {
  file: string;
  folder: string;
  overwrite?: boolean;
}
type RestoreReport = BackupReport & { previousStoreFolder: string | undefined };

function restore(options: RestoreOptions): RestoreReport {
  const { file, folder } = options;
  const target = join(folder, DATABASE_FILE);
  try {
    if (existsSync(target) && !options.overwrite) {
      throw new EmbeddedStoreError('STORE_EXISTS', `there is an event store in "${folder}"`);
    }
    const { events, streams, endPosition } = checkBackup(file);
    createFolder(folder);
    const lock = FolderLock.acquire(folder);
    try {
      finishRestore(folder); // an earlier restore that was cut short
      const incoming = join(folder, INCOMING_FILE);
      copyFileSync(file, incoming, constants.COPYFILE_FICLONE);
      restrictToOwner(incoming); // the copy has the mode of its source
      makeDurable(incoming);
      noteRestore(folder);
      const previousStoreFolder = finishRestore(folder);
      return { file, bytes: statSync(target).size, events, streams, endPosition, previousStoreFolder };
    } finally {
      lock.release();
    }
  } catch (error) {
    throw translated(error);
  }
}

/** The stream whose only event's id is the name of the store. A server writes it, and a restored backup keeps it. */
export const STORE_NAME_STREAM = 'espalierEventStore';

/**
 * Reads and checks every event of a backup. `storeName` is the name that a server gave to the store, or null where none worked with it.
 * @throws EmbeddedStoreError BACKUP_DAMAGED, BACKUP_FILE_UNUSABLE, STORE_NOT_FOUND
 */
export function checkEmbeddedBackup(file: string): Omit<BackupReport, 'file' | 'bytes'> & { storeName: string | null } {
  return translating(() => {
    const { events, streams, endPosition } = checkBackup(file);
    return { events, streams, endPosition, storeName: storeNameIn(file) };
  });
}

/** Reads and checks every event of a store, whether or not a server has it open. */
export function verifyEmbeddedEventStore(options: { folder: string }): VerifyReport {
  return translating(() => using(openForReading(options.folder), verifyDatabase));
}

/**
 * Tells whether a server that starts with this folder would find a store, or would finish an interrupted restore, rather than make a new
 * store.
 */
export function hasEmbeddedEventStore(folder: string): boolean {
  const bytes = statSync(join(folder, DATABASE_FILE), { throwIfNoEntry: false })?.size ?? 0;
  return bytes > 0 || isRestoreUnfinished(folder);
}

/**
 * Refuses a store whose schema is of a later release, before a server starts with it and without a change in its folder.
 * @throws EmbeddedStoreError STORE_SCHEMA_TOO_NEW
 */
export function requireKnownSchema(folder: string): void {
  if (!existsSync(join(folder, DATABASE_FILE)) || isRestoreUnfinished(folder)) return;
  try {
    openForReading(folder).close();
  } catch (error) {
    const problem = translated(error);
    if (problem.code === 'STORE_SCHEMA_TOO_NEW') throw problem; // the start of the store names all other problems
  }
}

export function embeddedEventStoreStats(options: { folder: string }): EmbeddedEventStoreStats {
  return translating(() => using(openForReading(options.folder), (database) => statsOf(database, options.folder)));
}

function statsOf(database: Database.Database, folder: string): EmbeddedEventStoreStats {
  const one = (sql: string) => database.prepare<[]>(sql).pluck().get();
  const count = (sql: string) => (one(sql) ?? 0) as number;
  const info = (key: string) => (one(`SELECT value FROM store_info WHERE key = '${key}'`) ?? '') as string;
  const lastUs = one('SELECT created_us FROM events ORDER BY position DESC LIMIT 1') as number | undefined;
  const bytes = (name: string) => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0;
  return {
    folder,
    isOpen: isOpen(folder),
    storeId: info('store_id'),
    schemaVersion: database.pragma('user_version', { simple: true }) as number,
    createdAt: info('created_at'),
    events: count('SELECT count(*) FROM events'),
    streams: count('SELECT count(*) FROM streams'),
    endPosition: count('SELECT max(position) FROM events'),
    lastEventAt: lastUs === undefined ? undefined : timeAt(lastUs / 1000)?.toISOString(),
    databaseBytes: bytes(DATABASE_FILE),
    walBytes: bytes(`${DATABASE_FILE}-wal`),
  };
}

function isOpen(folder: string): boolean {
  try {
    FolderLock.acquire(folder).release();
    return false;
  } catch {
    return true;
  }
}

async function copyDatabase(folder: string, to: string): Promise<void> {
  const source = openForReading(folder);
  try {
    // All pages are copied in one step. Between steps, a write of the server would make the copy start again from the beginning.
    await source.backup(to, { progress: () => ALL_PAGES });
  } finally {
    source.close();
  }
  // A backup is one file. In WAL mode, opening it would create a log file beside it.
  const copy = new Database(to);
  copy.pragma('journal_mode = DELETE');
  copy.close();
}

/** Creates the file on trial, because SQLite's error says little about a place where nothing can be written. */
function makePlace(partial: string, file: string): void {
  try {
    makeFolder(dirname(file));
    closeSync(openSync(partial, 'wx', 0o600)); // it holds all events, and the digests of tokens
  } catch (error) {
    throw new EmbeddedStoreError('BACKUP_FILE_UNUSABLE', `"${file}" can't be written: ${(error as Error).message}`, { cause: error });
  }
}

function checkBackup(file: string, damaged = `"${basename(file)}" is damaged`): VerifyReport {
  if (!existsSync(file)) throw new EmbeddedStoreError('STORE_NOT_FOUND', `there is no backup "${file}"`);
  const report = using(openBackup(file), verifyDatabase);
  const [first] = report.problems;
  if (first) throw new EmbeddedStoreError('BACKUP_DAMAGED', `${damaged}: ${first.code}: ${first.message}`);
  return report;
}

function storeNameIn(file: string): string | null {
  const database = openBackup(file);
  try {
    const first = database
      .prepare<[string], Buffer>(
        'SELECT event_id FROM events JOIN streams ON streams.id = stream_id WHERE streams.name = ? ORDER BY revision LIMIT 1',
      )
      .pluck()
      .get(STORE_NAME_STREAM);
    return first === undefined ? null : first.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  } finally {
    database.close();
  }
}

function openBackup(file: string): Database.Database {
  // SQLite would wait for ever at a FIFO.
  if (statSync(file, { throwIfNoEntry: false })?.isFile() === false)
    throw new EmbeddedStoreError('BACKUP_FILE_UNUSABLE', `"${file}" is not a regular file, so it can't be used as a backup`);
  try {
    return openFileForReading(file);
  } catch (error) {
    const { code, message } = toStoreError(error);
    throw new EmbeddedStoreError(code, `"${basename(file)}" can't be used as a backup: ${message}`, { cause: error });
  }
}

function using<T>(database: Database.Database, use: (database: Database.Database) => T): T {
  try {
    return use(database);
  } finally {
    database.close();
  }
}

function translating<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw translated(error);
  }
}

function translated(error: unknown): EmbeddedStoreError {
  if (error instanceof EmbeddedStoreError) return error;
  const { code, message } = toStoreError(error);
  return new EmbeddedStoreError(code, message, { cause: error });
}

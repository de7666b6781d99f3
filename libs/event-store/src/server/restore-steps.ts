// A restore puts a backup in the place of a store by several renames. A note in the folder says so from before the first of them until
// after the last one. A restore that a crash cut short is therefore finished by the next process that opens the store, which would
// otherwise find no store there and make an empty one.
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DATABASE_FILE } from './store-files.js';
import { StoreError } from './store-error.js';

const NOTE_FILE = 'restore.json';
/** The backup's copy, complete and on the disk before the note is. */
export const INCOMING_FILE = `${DATABASE_FILE}.incoming`;
const STORE_FILES = [DATABASE_FILE, `${DATABASE_FILE}-wal`, `${DATABASE_FILE}-shm`];
const ASIDE_NAME = /^before-restore-[\w.-]+$/;

/** From here on the copy takes the store's place, whatever happens in between. */
export function noteRestore(folder: string): void {
  const note = join(folder, NOTE_FILE);
  const aside = `before-restore-${new Date().toISOString().replaceAll(':', '-')}`;
  writeFileSync(`${note}.new`, JSON.stringify({ aside }));
  makeDurable(`${note}.new`);
  renameSync(`${note}.new`, note);
  makeDurable(folder);
}

export function isRestoreUnfinished(folder: string): boolean {
  return existsSync(join(folder, NOTE_FILE));
}

/**
 * Does what is left to do of a restore that was noted. The caller holds the folder's lock.
 * @returns the folder that now holds what was there; undefined when there was nothing, or nothing was left to do
 */
export function finishRestore(folder: string): string | undefined {
  if (!isRestoreUnfinished(folder)) return undefined;
  const aside = join(folder, asideOf(folder));
  const incoming = join(folder, INCOMING_FILE);
  if (existsSync(incoming)) {
    // As long as the copy has another name, these are files of the former store.
    const former = STORE_FILES.filter((name) => existsSync(join(folder, name)));
    if (former.length > 0) {
      if (!existsSync(aside)) mkdirSync(aside);
      for (const name of former) renameSync(join(folder, name), join(aside, name));
      makeDurable(aside);
    }
    makeDurable(folder);
    renameSync(incoming, join(folder, DATABASE_FILE));
    makeDurable(folder);
  }
  rmSync(join(folder, NOTE_FILE));
  makeDurable(folder);
  return existsSync(aside) ? aside : undefined;
}

function asideOf(folder: string): string {
  const file = join(folder, NOTE_FILE);
  try {
    const { aside } = JSON.parse(readFileSync(file, 'utf8')) as { aside?: unknown };
    if (typeof aside === 'string' && ASIDE_NAME.test(aside)) return aside;
  } catch {
    // told below
  }
  throw new StoreError('STORE_CORRUPT', `"${file}" is damaged: it should name the folder that keeps the store which a restore replaces`);
}

/** The bytes of a file, or the names in a folder. */
export function makeDurable(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

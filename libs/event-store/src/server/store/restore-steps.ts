// A restore replaces a store by a backup in several renames. A note lies in the folder from before the first rename until after the last
// one. If a crash cuts the restore short, the next process that opens the store finishes it. Without the note, that process would find no
// store and make an empty one.
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DATABASE_FILE } from './store-files.js';
import { StoreError } from './store-error.js';

const NOTE_FILE = 'restore.json';
/** The copy of the backup. It is complete and on the disk before the note is written. */
export const INCOMING_FILE = `${DATABASE_FILE}.incoming`;
const STORE_FILES = [DATABASE_FILE, `${DATABASE_FILE}-wal`, `${DATABASE_FILE}-shm`];
const ASIDE_NAME = /^before-restore-[\w.-]+$/;

/** Writes the note. After this, the copy becomes the store even if a crash comes in between. */
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
 * Finishes a restore that was noted. The caller must hold the folder's lock.
 * @returns the folder that now holds the former store; undefined if there was no former store, or nothing was left to do
 */
export function finishRestore(folder: string): string | undefined {
  if (!isRestoreUnfinished(folder)) return undefined;
  const aside = join(folder, asideOf(folder));
  const incoming = join(folder, INCOMING_FILE);
  if (existsSync(incoming)) {
    // As long as the copy has its temporary name, these files belong to the former store.
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
    // the error below names the damaged file
  }
  throw new StoreError('STORE_CORRUPT', `"${file}" is damaged: it should name the folder that keeps the store which a restore replaces`);
}

/** Makes the bytes of a file durable, or the names in a folder. */
export function makeDurable(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

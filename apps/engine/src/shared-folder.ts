// Folders that engines of a user share and that hold nothing else: a file marks them, so that no folder of the user's is taken for one.
// Parts of such a folder are locked by the kernel, so that a process that has died holds nothing.
import { closeSync, existsSync, fstatSync, lstatSync, openSync, readdirSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { makeFolder } from '#files';
import { lockFile } from '#native-engine';

const LOCK_TRIES = 10;

/** A lock. It is held until it is released, or the process has ended. */
export interface Hold {
  release(): void;
}

export interface FolderMarker {
  /** The name of the file that marks the folder. */
  file: string;
  /** The text of that file, which says what the folder is for. */
  text: string;
}

/** Makes the folder if it is not there. Returns its absolute path. @throws Error that says why it can't be used */
export function openOwnFolder(path: string, mark: FolderMarker): string {
  const folder = resolve(path);
  try {
    return openFolder(folder, mark);
  } catch (error) {
    throw isNoFolder(error) ? new Error('a file stands where a folder of its path should be', { cause: error }) : error;
  }
}

const isNoFolder = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOTDIR';

function openFolder(folder: string, mark: FolderMarker): string {
  const isLink = lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
  if (isLink && !existsSync(folder)) throw new Error(`it is a link to ${readlinkSync(folder)}, which is not there`);
  makeFolder(folder);
  const names = readdirSync(folder);
  if (names.includes(mark.file)) return folder;
  const [foreign] = names.filter((name) => name !== 'lost+found');
  if (foreign !== undefined)
    throw new Error(
      `it holds ${JSON.stringify(foreign)}, and no file ${mark.file}, by which engines know a folder of theirs: a new or empty folder is ` +
        `allowed; if engines did use this one, make that file again: touch ${join(folder, mark.file)}`,
    );
  writeFileSync(join(folder, mark.file), mark.text);
  return folder;
}

/**
 * Makes and locks the folder at the path. If it was removed while this process waited for the lock, the folder at the path is a new one,
 * and the lock is taken again. null: another process has a lock that excludes this one.
 */
export function lockFolder(path: string, { exclusive }: { exclusive: boolean }): Hold | null {
  for (let tries = 0; tries < LOCK_TRIES; tries += 1) {
    makeFolder(path);
    const descriptor = openSync(path, 'r');
    if (!lockFile(descriptor, { exclusive })) {
      closeSync(descriptor);
      return null;
    }
    if (statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(descriptor).ino) return heldBy(descriptor);
    closeSync(descriptor);
  }
  return null;
}

function heldBy(descriptor: number): Hold {
  let isHeld = true;
  return {
    release() {
      if (isHeld) closeSync(descriptor);
      isHeld = false;
    },
  };
}

// Words for errors of the system that say what a user can do. Libraries such as SQLite tell only that a file can't be opened.
import { closeSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { lacksInodes } from './disk-room.js';

const WORDS: Partial<Record<string, string>> = {
  EMFILE: 'this process has as many files open as it may: raise the limit (ulimit -n)',
  ENFILE: 'the machine has as many files open as it may (/proc/sys/fs/file-max)',
  EROFS: 'its disk is mounted read-only',
  EDQUOT: 'the quota of its user on the disk is used up',
};

/** The words for an error of a call to the system, or null where its own text has to do. */
export function faultWords(error: unknown): string | null {
  return WORDS[String((error as { code?: unknown }).code)] ?? null;
}

/** Tries to write a file into the folder. Returns the reason why that fails, in words, or null where it does not. */
export function faultOfFolder(folder: string): string | null {
  const file = join(folder, `.fault-${process.pid}`);
  try {
    closeSync(openSync(file, 'wx', 0o600));
    rmSync(file, { force: true });
    return null;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC')
      return lacksInodes(folder) ? 'no inode for another file is left on its disk (df -i)' : 'no room is left on its disk';
    return faultWords(error) ?? message;
  }
}

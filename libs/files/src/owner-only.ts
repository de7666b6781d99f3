// Files and folders of a server are readable by its user only, whatever the umask of the shell that started it.
import { chmodSync, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const OTHERS = 0o077;

/** From here on this process, and those that it starts, make files and folders for their user only. */
export function keepForOwner(): void {
  process.umask(OTHERS);
}

/** For what is made by the work alone. */
export function asOwnerOnly<T>(work: () => T): T {
  const usual = process.umask(OTHERS);
  try {
    return work();
  } finally {
    process.umask(usual);
  }
}

/** Takes from others what an earlier version or another umask let them; what lies there of another user is left alone. */
export function restrictToOwner(path: string): void {
  const found = lstatSync(path);
  if (found.isSymbolicLink()) return;
  if ((found.mode & OTHERS) !== 0) chmodSync(path, found.mode & 0o7700);
  if (!found.isDirectory()) return;
  for (const name of readdirSync(path)) {
    const below = join(path, name);
    if (lstatSync(below, { throwIfNoEntry: false })?.uid === found.uid) restrictToOwner(below);
  }
}

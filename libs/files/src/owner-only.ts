// Only the server's own user can read a server's files and folders, whatever the umask of the shell that started the server.
import { chmodSync, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const OTHERS = 0o077;

/** From this call on, the process and its children make files and folders that only their user can read. */
export function keepForOwner(): void {
  process.umask(OTHERS);
}

/** Files and folders that `work` makes are readable by their user only. The umask is restored afterwards. */
export function asOwnerOnly<T>(work: () => T): T {
  const usual = process.umask(OTHERS);
  try {
    return work();
  } finally {
    process.umask(usual);
  }
}

/** Removes the permissions that another umask gave to other users. Another user's files stay as they are. */
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

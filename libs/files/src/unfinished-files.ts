// Unfinished files and folders bear their maker's name. So the next process of the same user finds and removes the files of a process that
// was killed.
import { randomBytes } from 'node:crypto';
import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isSurelyDead, OWNER, ownerName } from './process-owner.js';

/** Returns a new file name that begins with `before` and ends with `after`. Where the system names no owner, the file is never cleared. */
export function unfinishedName(before: string, after: string): string {
  const random = randomBytes(4).toString('hex');
  const owner = ownerName();
  return `${before}${owner === undefined ? '' : `${owner}.`}${random}${after}`;
}

/**
 * Removes the files in the folder that `unfinishedName` named, if their makers are surely dead.
 * @param isSpared tells, for each path, whether the file has to stay
 * @returns the removed paths
 */
export function clearUnfinishedFiles(
  folder: string,
  { before, after }: { before: RegExp; after: string },
  isSpared: (path: string) => boolean = () => false,
): string[] {
  const pattern = new RegExp(`^${before.source}(${OWNER.source})\\.[0-9a-f]{8}${after.replaceAll('.', '\\.')}$`);
  const gone: string[] = [];
  for (const name of namesIn(folder)) {
    const owner = pattern.exec(name)?.at(-1);
    if (owner === undefined || !isSurelyDead(owner)) continue;
    const path = join(folder, name);
    try {
      if (lstatSync(path).uid !== process.geteuid?.() || isSpared(path)) continue;
      rmSync(path, { recursive: true });
      gone.push(path);
    } catch {
      // Another process removed it first, or the folder can't be written. A file that stays does no harm.
    }
  }
  return gone;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

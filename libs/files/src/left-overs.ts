// Unfinished files and folders that bear their maker's name, so that those of a process that was killed are found and removed by the next
// one of the same user.
import { randomBytes } from 'node:crypto';
import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isSurelyDead, OWNER, ownerName } from './process-owner.js';

/** A new name between `before` and `after`. Where the system tells no owner, what is left of it stays. */
export function leftOverName(before: string, after: string): string {
  const random = randomBytes(4).toString('hex');
  const owner = ownerName();
  return `${before}${owner === undefined ? '' : `${owner}.`}${random}${after}`;
}

/**
 * Removes what `leftOverName` named in the folder, where its maker is surely dead.
 * @param isSpared asked with the path of each
 * @returns the paths that are gone
 */
export function clearLeftOvers(
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
      // Another process removed it first, or the folder can't be written: then it stays, and disturbs nothing.
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

// The files with the output of jobs: their last lines, and their removal when they are old.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { withoutSecrets } from '#log';

const TAIL_BYTES = 4 << 10;
const LINE_CHARACTERS_MAX = 300;
const DAY_MS = 86_400_000;

/** The last line of a file that is not empty, as one line of plain text. '' where the file can't be read. */
export function lastLineIn(path: string): string {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return '';
  }
  try {
    const { size } = fstatSync(file);
    const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
    readSync(file, tail, 0, tail.length, size - tail.length);
    const lines = tail.toString('utf8').split('\n');
    return plainLine(lines.findLast((line) => line.trim() !== '') ?? '');
  } catch {
    return '';
  } finally {
    closeSync(file);
  }
}

export function plainLine(text: string): string {
  const plain = withoutSecrets(text.replaceAll(/[\p{Cc}\s]+/gu, ' ').trim());
  return plain.length > LINE_CHARACTERS_MAX ? `${plain.slice(0, LINE_CHARACTERS_MAX - 3)}...` : plain;
}

/**
 * Removes the logs of a fleet's jobs that were last written more than these days ago, and returns their names. Files of other names stay,
 * and so do the logs of jobs that are alive.
 */
export async function removeOldLogs(folder: string, days: number, isAlive: (engine: string) => boolean): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await readdir(folder)) {
    const [, engine] = /^([a-z][a-z0-9-]*-[0-9a-f]{8})(?:-\d+)?\.log$/.exec(name) ?? [];
    if (engine === undefined || isAlive(engine)) continue;
    const path = join(folder, name);
    const facts = await stat(path).catch(() => null);
    if (facts === null || !facts.isFile() || Date.now() - facts.mtimeMs < days * DAY_MS) continue;
    await unlink(path);
    removed.push(name);
  }
  return removed;
}

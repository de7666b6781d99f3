// Reads the ends of the logs in the data folder: that of the server with its engines, and that of the embedded event store.
import { open } from 'node:fs/promises';
import { fstatSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { EVENT_STORE_LOG, olderLog, SERVER_LOG } from '#files';
import { inOrderOfTime, readLogLine, type LogLine, type LogSource } from '#log';

/** Logs may be long, so only this many bytes at their ends are read. */
const TAIL_BYTES = 1 << 20;
const FILES: readonly [name: string, source: LogSource][] = [
  [SERVER_LOG, 'orchestrator'],
  [EVENT_STORE_LOG, 'event-store'],
];

/** The lines of all logs, sorted by time. */
export async function logTail(dataFolder: string): Promise<LogLine[]> {
  const ends = await Promise.all(
    FILES.map(async ([name, source]) => {
      const path = join(dataFolder, name);
      const newer = await endOf(path);
      const older = newer.isWhole ? await endOf(olderLog(path)) : { text: '' };
      return [...older.text.split('\n'), ...newer.text.split('\n')].filter((line) => line !== '').map((line) => readLogLine(line, source));
    }),
  );
  return inOrderOfTime(ends.flat());
}

/**
 * Tells whether the server logs elsewhere. A server in the foreground logs on its terminal; if there is a log file, an earlier server wrote
 * it.
 */
export function logsElsewhere(dataFolder: string): boolean {
  const file = statSync(join(dataFolder, SERVER_LOG), { throwIfNoEntry: false });
  return file === undefined || [1, 2].every((fd) => !isSame(fd, file));
}

function isSame(fd: number, { dev, ino }: { dev: number; ino: number }): boolean {
  try {
    const open = fstatSync(fd);
    return open.dev === dev && open.ino === ino;
  } catch {
    return false; // the descriptor is closed
  }
}

/** The last whole lines of a file, or no text where there is no file. */
async function endOf(path: string): Promise<{ text: string; isWhole: boolean }> {
  const file = await open(path, 'r').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return { text: '', isWhole: true };
  try {
    const { size } = await file.stat();
    const from = Math.max(0, size - TAIL_BYTES);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
    const text = buffer.toString('utf8', 0, bytesRead);
    return from === 0 ? { text, isWhole: true } : { text: text.slice(text.indexOf('\n') + 1), isWhole: false };
  } finally {
    await file.close();
  }
}

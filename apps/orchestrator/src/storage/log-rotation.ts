// Keeps the logs in the data folder short. Their writers hold the files open, some in other processes, so a long log is copied to a second
// file and then emptied in place. The copy replaces the copy before.
import { closeSync, copyFileSync, ftruncateSync, openSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { LOG_FILES, olderLog } from '#files';

const BYTES_MAX = 16 << 20;
const CHECK_INTERVAL_MS = 5_000;

/** Looks at the logs regularly until the process ends. */
export function rotateLogs(dataFolder: string, log: Logger): void {
  setInterval(() => {
    for (const name of LOG_FILES) rotate(join(dataFolder, name), log);
  }, CHECK_INTERVAL_MS).unref();
}

/** Empties the log if it is long, with or without a copy: a full disk has no room for one. */
export function rotate(path: string, log: Logger, bytesMax = BYTES_MAX): void {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) <= bytesMax) return;
  try {
    rmSync(olderLog(path), { force: true });
    copyFileSync(path, olderLog(path));
  } catch (error) {
    log.warn({ err: error, path }, 'a long log was emptied without a copy');
  }
  try {
    const file = openSync(path, 'r+');
    ftruncateSync(file, 0);
    closeSync(file);
  } catch (error) {
    log.warn({ err: error, path }, "a long log can't be made shorter");
  }
}

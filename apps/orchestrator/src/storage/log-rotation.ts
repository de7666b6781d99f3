// Keeps the logs in the data folder short. Their writers append through files that were opened once, some of them by other processes, so a
// long log is copied aside and emptied in its place; its copy replaces the copy before.
import { closeSync, copyFileSync, ftruncateSync, openSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { LOG_FILES, olderLog } from '#files';

const BYTES_MAX = 16 << 20;
const CHECK_INTERVAL_MS = 5_000;

/** Goes on until the process ends. */
export function rotateLogs(dataFolder: string, log: Logger): void {
  setInterval(() => {
    for (const name of LOG_FILES) rotate(join(dataFolder, name), log);
  }, CHECK_INTERVAL_MS).unref();
}

/** Whatever goes wrong, the log gets short: a disk that is full has no room for a copy. */
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

import type Database from 'better-sqlite3';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { programFile } from '#files';
import { DATABASE_FILE } from './store-files.js';

const PASSIVE_ABOVE_BYTES = 4 << 20;
const RESTART_ABOVE_BYTES = 64 << 20;
const RESTART_WORKER_MS = 5_000;
/**
 * The longest time that committed pages stay in the log alone. The log is a separate file that may be lost, so this holds for small stores
 * too.
 */
const LONGEST_IN_LOG_MS = 10_000;
/** Looking at the log's size after every commit would cost more than it helps. */
const COMMITS_BETWEEN_LOOKS = 8;

/**
 * Moves committed pages from the write-ahead log into the database on a thread of its own, so that no append waits for it. If writes never
 * pause and the log keeps growing, the writer itself restarts the log, right after the thread has left little to do.
 */
export class Checkpointer {
  private readonly walFile: string;
  private readonly file: string;
  private worker: Worker;
  private closed = false;
  private commits = 0;
  private busy = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly database: Database.Database,
    folder: string,
    private readonly longestInLogMs = LONGEST_IN_LOG_MS,
  ) {
    this.file = join(folder, DATABASE_FILE);
    this.walFile = `${this.file}-wal`;
    this.worker = this.startWorker();
  }

  private startWorker(): Worker {
    const worker = new Worker(programFile(new URL('./checkpoint-worker.js', import.meta.url)), { workerData: { file: this.file } });
    worker.on('message', () => this.roundDone());
    // The thread failed, for example because its disk was full. The log grows until the next thread works, and appends go on.
    worker.on('error', () => {
      this.busy = true;
      setTimeout(() => {
        if (this.closed) return;
        this.worker = this.startWorker();
        this.busy = false;
      }, RESTART_WORKER_MS).unref();
    });
    worker.unref();
    return worker;
  }

  committed(): void {
    this.commits += 1;
    this.checkpointLater();
    if (this.busy || this.commits % COMMITS_BETWEEN_LOOKS !== 0 || this.walBytes() < PASSIVE_ABOVE_BYTES) return;
    this.checkpoint();
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    await this.worker.terminate();
    try {
      this.database.pragma('wal_checkpoint(TRUNCATE)');
    } catch {
      // The disk is full, or another process is reading: the log stays and is replayed at the next start.
    }
  }

  private checkpointLater(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      if (this.closed) return;
      if (this.busy) this.checkpointLater();
      else this.checkpoint();
    }, this.longestInLogMs).unref();
  }

  private checkpoint(): void {
    this.busy = true;
    this.worker.postMessage('checkpoint');
  }

  private roundDone(): void {
    this.busy = false;
    if (this.walBytes() < RESTART_ABOVE_BYTES) return;
    try {
      // Does not wait for readers: a backup may read from the log for long, and appends must not wait for it.
      this.database.pragma('busy_timeout = 0');
      this.database.pragma('wal_checkpoint(RESTART)');
    } catch {
      // Appends must not fail because the log could not be shortened.
    } finally {
      this.database.pragma('busy_timeout = 5000');
    }
  }

  private walBytes(): number {
    try {
      return statSync(this.walFile, { throwIfNoEntry: false })?.size ?? 0;
    } catch {
      return 0; // the disk can't be read, so there is nothing to do
    }
  }
}

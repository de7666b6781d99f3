import type Database from 'better-sqlite3';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { programFile } from '#files';
import { DATABASE_FILE } from './store-files.js';

const PASSIVE_ABOVE_BYTES = 4 << 20;
const RESTART_ABOVE_BYTES = 64 << 20;
const RESTART_WORKER_MS = 5_000;
/** However little there is: a young history must not lie in the log alone, which is a file of its own that may be lost. */
const LONGEST_IN_LOG_MS = 10_000;
/** Looking at the file after every commit would cost more than it tells. */
const COMMITS_BETWEEN_LOOKS = 8;

/**
 * Moves committed pages from the write-ahead log into the database on a thread of its own, so that no append waits
 * for it. Only when writes never pause and the log keeps growing does the writer itself restart it, right after a
 * round of the thread has left little to do.
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
    // Its disk was full, say: the log grows until the next one can work; appends go on.
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
      // A full disk or a reader elsewhere: the log stays and is replayed at the next start.
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
      // Without waiting: a backup that reads from the log may hold it for long, and appends must not wait for that.
      this.database.pragma('busy_timeout = 0');
      this.database.pragma('wal_checkpoint(RESTART)');
    } catch {
      // As above: not being able to shorten the log must not fail anything.
    } finally {
      this.database.pragma('busy_timeout = 5000');
    }
  }

  private walBytes(): number {
    try {
      return statSync(this.walFile, { throwIfNoEntry: false })?.size ?? 0;
    } catch {
      return 0; // a disk that can't be read: nothing to do there now
    }
  }
}

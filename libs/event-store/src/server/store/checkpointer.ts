import type Database from 'better-sqlite3';
import { statSync, type Stats } from 'node:fs';
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
/** How often the log is looked for while nothing is written. */
const LOOK_MS = 1_000;

/**
 * Moves committed pages from the write-ahead log into the database on a thread of its own, so that no append waits for it. If writes never
 * pause and the log keeps growing, the writer itself restarts the log, right after the thread has left little to do.
 */
export class Checkpointer {
  private readonly walFile: string;
  private readonly file: string;
  private worker: Worker;
  private closed = false;
  private busy = false;
  private timer: NodeJS.Timeout | undefined;
  private readonly looks: NodeJS.Timeout;
  /** The log that this process has open. */
  private readonly log: Stats | undefined;
  /** Whether another file or none stands in the log's place. The log then ends with this process. */
  private isLost = false;

  /** @param onLost called once when the log was removed or replaced. What it held is in the database by then */
  constructor(
    private readonly database: Database.Database,
    folder: string,
    private readonly onLost: () => void = () => undefined,
    private readonly longestInLogMs = LONGEST_IN_LOG_MS,
  ) {
    this.file = join(folder, DATABASE_FILE);
    this.walFile = `${this.file}-wal`;
    this.log = this.logNow();
    this.worker = this.startWorker();
    this.looks = setInterval(() => this.lookForLog(this.logNow()), LOOK_MS).unref();
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

  /** Called after each commit, before the process answers that it is durable. */
  committed(): void {
    this.checkpointLater();
    const log = this.logNow();
    this.lookForLog(log);
    if (this.busy || (log?.size ?? 0) < PASSIVE_ABOVE_BYTES) return;
    this.checkpoint();
  }

  /**
   * Notices a log that was removed or replaced under this process. This process still reads and writes it, but the next one would not find
   * it. So its pages go into the database at once, and so do those of later commits.
   */
  private lookForLog(log: Stats | undefined): void {
    const isThere = log !== undefined && log.ino === this.log?.ino && log.dev === this.log.dev;
    if (this.closed || (isThere && !this.isLost) || !this.emptied()) return;
    if (!this.isLost) this.onLost();
    this.isLost = true;
  }

  /** Moves all pages of the log into the database. Returns whether that was possible. */
  private emptied(): boolean {
    try {
      const [round] = this.database.pragma('wal_checkpoint(FULL)') as { busy: number }[];
      return round?.busy === 0;
    } catch {
      return false; // the disk is full: the next look tries again
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    clearInterval(this.looks);
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
    if ((this.logNow()?.size ?? 0) < RESTART_ABOVE_BYTES) return;
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

  /** The file in the log's place; undefined where the file is missing or can't be looked at. */
  private logNow(): Stats | undefined {
    try {
      return statSync(this.walFile, { throwIfNoEntry: false });
    } catch {
      return undefined;
    }
  }
}

import type Database from 'better-sqlite3';
import { CommitQueue } from './commit-queue.js';
import { Checkpointer } from './checkpointer.js';
import { createFolder, FolderLock, openForWriting } from './database.js';
import { finishRestore } from './restore-steps.js';
import { EventLog, type AppendResult } from './event-log.js';
import { EventReader } from './event-reader.js';
import type { ProposedEvent } from './event-record.js';
import type { Expected } from './refusals.js';
import { WakeUps } from './wake-ups.js';

/** An open store: the lock of its folder, its database, and the queue through which all writes go. */
export class Store {
  readonly log: EventLog;
  readonly reader: EventReader;
  readonly wakeUps = new WakeUps();
  private readonly queue: CommitQueue;
  private readonly checkpointer: Checkpointer;

  private constructor(
    private readonly lock: FolderLock,
    readonly database: Database.Database,
    folder: string,
    onLogLost: () => void,
  ) {
    this.log = new EventLog(database);
    this.reader = new EventReader(database, this.log.heads);
    this.checkpointer = new Checkpointer(database, folder, onLogLost);
    const committed = (streams: ReadonlySet<string>): void => {
      this.wakeUps.committed(streams);
      this.checkpointer.committed();
    };
    this.queue = new CommitQueue(this.log, committed, folder);
  }

  /** @param onLogLost called when the write-ahead log was removed: nothing is lost yet, but the store must be opened again */
  static open(folder: string, maxDatabaseBytes?: number, onLogLost: () => void = () => undefined): Store {
    createFolder(folder);
    const lock = FolderLock.acquire(folder);
    try {
      finishRestore(folder);
      return new Store(lock, openForWriting(folder, maxDatabaseBytes), folder, onLogLost);
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  append(stream: string, events: ProposedEvent[], expected: Expected): Promise<AppendResult> {
    return this.queue.submit(() => this.log.append(stream, events, expected));
  }

  async close(): Promise<void> {
    this.queue.close();
    await this.checkpointer.close();
    this.database.close();
    this.lock.release();
  }
}

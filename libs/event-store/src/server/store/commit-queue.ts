import type { EventLog } from './event-log.js';
import { Refusal } from './refusals.js';
import { StoreError, toStoreError } from './store-error.js';

interface Pending {
  run: () => unknown;
  resolve: (value: never) => void;
  reject: (error: unknown) => void;
}

/** The most writes in one transaction, which must not grow without bound under load. The other writes go into the next one. */
const MAX_GROUP = 512;

/**
 * Commits writes in groups. Writes that arrive in the same turn of the event loop share one transaction, and so one fsync. Each write is
 * answered only after its commit.
 */
export class CommitQueue {
  private pending: Pending[] = [];
  private scheduled = false;
  private closed = false;
  /** A rollback failed, so the log's state in memory may be wrong and must be read again. */
  private mustReload = false;
  private readonly begin;
  private readonly commit;

  constructor(
    private readonly log: EventLog,
    /** Called after each commit with the streams that were written. It must not throw, because the answers are given already. */
    private readonly committed: (streams: ReadonlySet<string>) => void,
    private readonly folder: string,
  ) {
    this.begin = log.database.prepare('BEGIN IMMEDIATE');
    this.commit = log.database.prepare('COMMIT');
  }

  submit<T>(run: () => T): Promise<T> {
    if (this.closed) return Promise.reject(new StoreError('STORE_STOPPING', 'the event store is stopping'));
    return new Promise<T>((resolve, reject) => {
      this.pending.push({ run, resolve, reject });
      this.schedule();
    });
  }

  /** Commits the accepted writes, and refuses all later ones. */
  close(): void {
    this.closed = true;
    while (this.pending.length > 0) this.commitNext();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      this.commitNext();
      if (this.pending.length > 0) this.schedule();
    });
  }

  private commitNext(): void {
    const group = this.pending.splice(0, MAX_GROUP);
    if (group.length === 0) return;
    const failure = this.mustReload ? this.rolledBack() : null;
    if (failure !== null) return group.forEach((one) => one.reject(this.named(failure)));
    if (this.commitTogether(group)) return;
    // The group failed because of the disk or the database. Each write now gets its own transaction, so that a write that is too large for
    // the disk does not make the others fail.
    if (group.length > 1) for (const one of group) this.commitTogether([one]);
  }

  /** @returns false if the transaction was rolled back and its writes still wait for an answer */
  private commitTogether(group: Pending[]): boolean {
    const answers: (() => void)[] = [];
    try {
      this.begin.run();
      for (const one of group) answers.push(answerOf(one));
      this.commit.run();
    } catch (error) {
      // If the disk can't be read either, the next write finds out.
      const failure = this.rolledBack() ?? error;
      const [only, ...others] = group;
      if (only === undefined || others.length > 0) return false;
      only.reject(this.named(failure));
      return true;
    }
    const touched = new Set(this.log.touched);
    this.log.touched.clear();
    for (const answer of answers) answer();
    if (touched.size > 0) this.committed(touched);
    return true;
  }

  /** Restores the log's state from before the transaction. Returns the error that prevents this; null: it is restored. */
  private rolledBack(): Error | null {
    const { database } = this.log;
    try {
      if (database.inTransaction) database.exec('ROLLBACK');
      this.log.reload();
      this.mustReload = false;
      return null;
    } catch (error) {
      this.mustReload = true;
      return error as Error;
    }
  }

  /** Adds the folder to the error, so that the user knows where to make room. */
  private named(error: unknown): StoreError {
    const { code, message } = toStoreError(error);
    return new StoreError(code, `${message} (folder ${this.folder})`, { cause: error });
  }
}

function answerOf(one: Pending): () => void {
  try {
    const value = one.run();
    return () => one.resolve(value as never);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return () => one.reject(error);
  }
}

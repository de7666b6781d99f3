// The read side of one kind of aggregate. It opens the file of read models and keeps it up to date with the event store. It makes the file
// again on request, and where the file is damaged or belongs to another store. A subclass holds the queries.
import { renameSync } from 'node:fs';
import { EventCorruptError, type EventStore } from '#event-store';
import { EspalierError } from '#protocol';
import { ProjectionRunner } from './projection-runner.js';
import type { Projection, RecordItem } from './projection.js';
import { ViewChanges } from './view-changes.js';
import {
  isOfStore,
  openViewsFile,
  problemInViewsFile,
  removeViewsFile,
  ViewsDamagedError,
  type EmptyBecause,
  type ViewsDatabase,
  type ViewsSchema,
} from './views-file.js';

/** How many milliseconds a query waits until the views have all events of the store. */
const CATCH_UP_TIMEOUT_MS = 5000;
const RETRY_MS = 1000;
/** How often to ask again for a runner's progress, since another one may have taken its place. */
const ASKED_AGAIN_MS = 200;

export interface ViewsOptions {
  store: EventStore;
  file: string;
  schema: ViewsSchema;
  projection: (database: ViewsDatabase) => Projection;
  onError?: ((error: unknown) => void) | undefined;
  onDamage?: ((error: EventCorruptError) => void) | undefined;
  /** Called at a start that reads all events of the store again, which may take long. */
  onReadAgain?: ((because: EmptyBecause | 'otherStore') => void) | undefined;
}

export abstract class Views {
  readonly changes = new ViewChanges();
  protected readonly store: EventStore;
  protected started: Promise<void> = Promise.resolve();
  private current: ViewsDatabase;
  private runner: ProjectionRunner;
  private rebuilding = false;
  private isStarted = false;
  private stopped = false;
  private firstReader: (item: RecordItem) => Promise<void> = () => Promise.resolve();
  /** The reason why the file is about to be made again, or null while it is used. */
  private damage: Error | null = null;
  /** The reason why the file was empty when it was opened, or null. */
  private emptyBecause: EmptyBecause | null = null;

  constructor(private readonly options: ViewsOptions) {
    this.store = options.store;
    this.current = this.open();
    this.runner = this.runnerFor(this.current);
  }

  /** The revision that the rows of one aggregate show, or null where there are no rows of it. */
  protected abstract revisionOf(id: string): number | null;

  get database(): ViewsDatabase {
    return this.current;
  }

  start(): void {
    this.isStarted = true;
    this.started = this.begin();
  }

  /** The reader gets each item of a history that the views read from its first event on, before they show it. */
  onFirstReading(reader: (item: RecordItem) => Promise<void>): void {
    this.firstReader = reader;
  }

  private async begin(): Promise<void> {
    while (!this.stopped) {
      try {
        const problem = await this.problemInFile();
        if (problem !== null) this.onError(new ViewsDamagedError(problem));
        const isOfThisStore = problem !== null || (await isOfStore(this.current, this.store));
        const because = this.emptyBecause ?? (isOfThisStore ? null : 'otherStore');
        if (because !== null && (await this.hasEvents())) this.options.onReadAgain?.(because);
        if (problem !== null || !isOfThisStore) this.openAnew();
        break;
      } catch (error) {
        this.onError(error);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    if (!this.stopped) this.runner.start();
  }

  /** Tells whether the store has any event that the views read. */
  private async hasEvents(): Promise<boolean> {
    const { streamPrefixes } = this.options.projection(this.current);
    try {
      for await (const _ of this.store.readAll({ streamPrefixes: [...streamPrefixes], maxCount: 1 })) return true;
      return false;
    } catch (error) {
      if (error instanceof EventCorruptError) return true;
      throw error;
    }
  }

  /** The first problem of the whole file as it is on the disk, or null where every row is as it was written. */
  async problemInFile(): Promise<string | null> {
    return this.damage?.message ?? (await problemInViewsFile(this.options.file, this.options.schema));
  }

  /** Empties the file and reads all events again. Meanwhile queries wait, or are refused with a hint to try again. */
  async startAnew(reason: Error): Promise<void> {
    if (this.damage !== null || this.stopped) return;
    this.damage = reason;
    this.onError(reason);
    await this.started;
    await this.runner.stop();
    if (this.damage !== reason || this.stopped) return; // the file was opened again in the meantime
    this.openAnew();
    this.runner.start();
    this.changes.notifyAll();
  }

  private openAnew(): void {
    removeViewsFile(this.options.file);
    this.current.close();
    this.damage = null;
    this.current = this.open();
    this.runner = this.runnerFor(this.current);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.started;
    await this.runner.stop();
    this.changes.notifyAll();
    this.current.close();
  }

  /** Marks an event as damaged that a reader could not read, though the views have its content. */
  noteDamage(error: EventCorruptError): void {
    try {
      this.runner.note(error);
    } catch (failure) {
      this.onError(failure); // the next reader of the event reports it again
    }
  }

  /** Waits until the views show the aggregate at this revision. @throws VIEW_LAGGING when they don't in time */
  async reach(id: string, revision: number): Promise<void> {
    const deadline = Date.now() + CATCH_UP_TIMEOUT_MS;
    for (;;) {
      const change = this.changes.next(id, Math.max(1, deadline - Date.now()));
      if ((this.revisionOf(id) ?? -1) >= revision) return;
      if (Date.now() >= deadline) throw lagging(`${id} at revision ${revision}`, this.runner.lastFailure);
      await change;
    }
  }

  /** Waits until the views have caught up, so that no query reads half a history. */
  async ready(): Promise<void> {
    if (this.damage !== null) throw this.damage;
    await Promise.race([this.started, new Promise((resolve) => setTimeout(resolve, CATCH_UP_TIMEOUT_MS).unref())]);
    if (!(await this.runner.whenCaughtUp(CATCH_UP_TIMEOUT_MS)))
      throw lagging(`${this.runner.eventsDone} events are in`, this.runner.lastFailure);
  }

  /** Resolves once the views have caught up with the store, or can't be written at the moment. Views that were not started don't move. */
  protected async settled(): Promise<void> {
    await this.started;
    while (this.isStarted && !this.stopped && this.runner.lastFailure === null && !(await this.runner.whenCaughtUp(ASKED_AGAIN_MS)));
  }

  /** Rebuilds the read models beside the old ones. The old ones answer until the new ones have caught up. */
  async *rebuild(signal: AbortSignal): AsyncGenerator<{ eventsDone: bigint; done: boolean }> {
    if (this.rebuilding) throw new EspalierError('CONFLICTING_CHANGES', 'the views are being rebuilt already');
    this.rebuilding = true;
    const file = `${this.options.file}.rebuild`;
    removeViewsFile(file);
    const database = this.open(file);
    const failures: unknown[] = [];
    const runner = this.runnerFor(database, (error) => failures.push(error));
    let swapped = false;
    try {
      runner.start();
      while (!(await runner.whenCaughtUp(ASKED_AGAIN_MS))) {
        if (signal.aborted) return;
        if (failures.length > 0) throw failures[0];
        yield { eventsDone: BigInt(runner.eventsDone), done: false };
      }
      await this.swap(runner, database, file);
      swapped = true;
      yield { eventsDone: BigInt(this.runner.eventsDone), done: true };
    } finally {
      this.rebuilding = false;
      if (!swapped) {
        await runner.stop();
        database.close();
        removeViewsFile(file);
      }
    }
  }

  /** From closing to reopening there is no await, so no query ever meets a closed database. */
  private async swap(runner: ProjectionRunner, database: ViewsDatabase, file: string): Promise<void> {
    await runner.stop();
    await this.runner.stop();
    database.pragma('wal_checkpoint(TRUNCATE)');
    database.close();
    this.current.close();
    removeViewsFile(this.options.file);
    renameSync(file, this.options.file);
    this.current = this.open();
    this.runner = this.runnerFor(this.current);
    this.runner.caughtUp = true;
    this.runner.start();
    this.changes.notifyAll();
  }

  private open(file = this.options.file): ViewsDatabase {
    return openViewsFile(
      file,
      this.options.schema,
      (error) => void this.startAnew(error).catch((failure: unknown) => this.onError(failure)),
      (because) => (this.emptyBecause = because),
    );
  }

  private runnerFor(database: ViewsDatabase, failed = (error: unknown): void => this.onError(error)): ProjectionRunner {
    return new ProjectionRunner(this.store, database, this.options.projection(database), {
      changed: (ids) => this.changes.notify(ids),
      firstRead: (item) => this.firstReader(item),
      failed,
      damaged: (error) => this.options.onDamage?.(error),
    });
  }

  private onError(error: unknown): void {
    this.options.onError?.(error);
  }
}

function lagging(what: string, failure: unknown): EspalierError {
  const why = failure === null ? '' : `; they can't be written: ${(failure as Error).message}`;
  return new EspalierError('VIEW_LAGGING', `the views are still catching up with the event store (${what}${why}); try again in a moment`);
}

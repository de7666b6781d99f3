// Keeps read models up to date with the event store. It reads one subscription and writes batches of events, each with the position that it
// ends at.
import { setImmediate as yieldToOthers } from 'node:timers/promises';
import type { EventCorruptError, EventStore, Position, Subscription } from '#event-store';
import type { Projection, RecordItem } from './projection.js';
import { readPosition, type ViewsDatabase } from './views-file.js';

/** A batch ends with the first of these limits. Each batch holds up queries and costs a transaction with the rows of each of its runs. */
const BATCH_EVENTS = 2_000;
const BATCH_BYTES = 8 << 20;
const RETRY_MS = 1000;
/** The time in milliseconds to wait for the rest of a commit or of a long history, so that one transaction takes many events. */
const REST_WAIT_MS = 100;

export interface ProjectionListener {
  /** Called after the commit of a batch, with the ids of the aggregates that changed. */
  changed(ids: Set<string>): void;
  /** Called when a write failed, as on a full disk. The runner tries again until it works. */
  failed(error: unknown): void;
  /** Called in turn with each item of a history that is read from its first event on. */
  firstRead(item: RecordItem): Promise<void>;
  /** Called when an event can't be read. The event is passed over, and its aggregate is marked. */
  damaged(error: EventCorruptError): void;
}

export class ProjectionRunner {
  /** The number of events in the file. */
  eventsDone: number;
  /** Whether the file has once held everything that the store held at that time. */
  caughtUp = false;
  /** The error that keeps the newest events out of the file, or null. */
  lastFailure: unknown = null;
  private position: Position | null;
  /** Whether this runner began at the first event. */
  private readonly isFirstReading: boolean;
  private subscription: Subscription | undefined;
  private running: Promise<void> | undefined;
  private stopped = false;
  private batch: RecordItem[] = [];
  private batchBytes = 0;
  private flushPlanned = false;
  private timer: NodeJS.Timeout | undefined;
  private failure: Error | null = null;
  private caughtUpWaiters: (() => void)[] = [];

  constructor(
    private readonly store: EventStore,
    database: ViewsDatabase,
    private readonly projection: Projection,
    private readonly listener: ProjectionListener,
  ) {
    const { position, events } = readPosition(database);
    this.position = position;
    this.isFirstReading = position === null;
    this.eventsDone = events;
  }

  start(): void {
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.subscription?.close();
    await this.running?.catch(() => undefined);
    this.caughtUpWaiters.forEach((wake) => wake());
  }

  /** Resolves to true once the file holds everything that the store held at some moment, or to false after `atMostMs`. */
  async whenCaughtUp(atMostMs: number): Promise<boolean> {
    if (this.caughtUp) return true;
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      new Promise<void>((resolve) => this.caughtUpWaiters.push(resolve)),
      new Promise<void>((resolve) => {
        timer = setTimeout(resolve, atMostMs);
      }),
    ]);
    clearTimeout(timer);
    return this.caughtUp;
  }

  private async run(): Promise<void> {
    while (!this.stopped) {
      this.clearBatch(); // the subscription delivers the items of an unstored batch again
      try {
        const streamPrefixes = [...this.projection.streamPrefixes];
        this.subscription = this.store.subscribeAll({ after: this.position ?? 'start', streamPrefixes });
        for await (const item of this.subscription) {
          if (this.stopped) return;
          if (item.kind === 'event') await this.apply(item.event);
          else if (item.kind === 'damaged') await this.takeDamaged(item.error);
          else if (item.kind === 'checkpoint') this.takeCheckpoint(item.position);
          else this.reachEnd();
          if (this.failure !== null) break;
        }
        throw this.failure ?? new Error('the subscription ended');
      } catch (error) {
        this.failure = null;
        if (this.stopped) return;
        this.lastFailure = error;
        // The runner never stops trying. Otherwise the views would stand still without a word.
        this.listener.failed(error);
        await this.subscription?.close().catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  /** Marks an event as damaged after a reader found it damaged. It was still whole when it was projected. */
  note(error: EventCorruptError): void {
    if (!this.caughtUp && !this.projection.hasPassed(error)) return; // the subscription will still come to this event
    this.listener.damaged(error);
    this.listener.changed(this.projection.apply([error], null));
  }

  private async takeDamaged(error: EventCorruptError): Promise<void> {
    this.listener.damaged(error);
    await this.apply(error);
  }

  private async apply(event: RecordItem): Promise<void> {
    if (this.isFirstReading && !this.caughtUp) await this.listener.firstRead(event);
    this.batch.push(event);
    if ('data' in event) this.batchBytes += event.data.length;
    if (this.batch.length >= BATCH_EVENTS || this.batchBytes >= BATCH_BYTES) {
      this.flush();
      await yieldToOthers(); // other queries get their turn during a long catch-up
    } else if (!this.caughtUp || ('type' in event && this.projection.hasMoreToCome(event))) {
      this.timer ??= setTimeout(() => this.flushLater(), REST_WAIT_MS);
    } else if (!this.flushPlanned) {
      // The batch is applied as soon as the store has no further event ready.
      this.flushPlanned = true;
      setImmediate(() => this.flushLater());
    }
  }

  private flushLater(): void {
    this.flushPlanned = false;
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.stopped || this.failure !== null) return;
    try {
      this.flush();
    } catch (error) {
      this.failure = error as Error;
      void this.subscription?.close();
    }
  }

  private reachEnd(): void {
    this.flush();
    this.caughtUp = true;
    this.caughtUpWaiters.splice(0).forEach((wake) => wake());
  }

  /** Stores the position, so that a later start need not read over events of other streams again. */
  private takeCheckpoint(position: Position): void {
    this.flush();
    this.projection.apply([], position);
    this.position = position;
  }

  private flush(): void {
    const last = this.batch.at(-1);
    if (last === undefined) return;
    const events = this.clearBatch();
    const changed = this.projection.apply(events, last.position);
    this.lastFailure = null;
    this.position = last.position;
    this.eventsDone += events.length;
    this.listener.changed(changed);
  }

  private clearBatch(): RecordItem[] {
    const events = this.batch;
    [this.batch, this.batchBytes] = [[], 0];
    return events;
  }
}

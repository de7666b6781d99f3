// Keeps the read models up with the event store: one subscription, batches, position with the rows.
import { setImmediate as yieldToOthers } from 'node:timers/promises';
import type { EventCorruptError, EventStore, Position, Subscription } from '#event-store';
import type { Projection, RecordItem } from './projection.js';
import { readPosition, type ViewsDatabase } from './views-file.js';

const BATCH_EVENTS = 500;
const RETRY_MS = 1000;
/** The time to wait for the rest of a commit, so that one transaction takes both parts. */
const REST_WAIT_MS = 100;

export interface ProjectionListener {
  /** After the commit of a batch. */
  changed(ids: Set<string>): void;
  /** Writing failed (disk full, say); tried again until it works. */
  failed(error: unknown): void;
  /** An event can't be read: it is passed over, and its aggregate is marked. */
  damaged(error: EventCorruptError): void;
}

export class ProjectionRunner {
  /** Events in the file. */
  eventsDone: number;
  /** Whether the file once held everything that the store held. */
  caughtUp = false;
  /** The error that keeps the newest events out of the file; null: no error. */
  lastFailure: unknown = null;
  private position: Position | null;
  private subscription: Subscription | undefined;
  private running: Promise<void> | undefined;
  private stopped = false;
  private batch: RecordItem[] = [];
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

  /** Resolves true once everything that the store held at some moment is in the file; false after `atMostMs`. */
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
      this.batch = []; // what was not stored comes again
      try {
        const streamPrefixes = [...this.projection.streamPrefixes];
        this.subscription = this.store.subscribeAll({ after: this.position ?? 'start', streamPrefixes });
        for await (const item of this.subscription) {
          if (this.stopped) return;
          if (item.kind === 'event') await this.take(item.event);
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
        // The runner tries for ever: otherwise the views would silently stand still.
        this.listener.failed(error);
        await this.subscription?.close().catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  /** Marks an event as damaged that a reader found damaged, though it was whole when it was projected. */
  note(error: EventCorruptError): void {
    if (!this.caughtUp && !this.projection.hasPassed(error)) return; // it is still to come
    this.listener.damaged(error);
    this.listener.changed(this.projection.apply([error], null));
  }

  private async takeDamaged(error: EventCorruptError): Promise<void> {
    this.listener.damaged(error);
    await this.take(error);
  }

  private async take(event: RecordItem): Promise<void> {
    this.batch.push(event);
    if (this.batch.length >= BATCH_EVENTS) {
      this.flush();
      await yieldToOthers(); // queries get their turn during a long catch-up
    } else if ('type' in event && this.caughtUp && this.projection.hasMoreToCome(event)) {
      this.timer ??= setTimeout(() => this.flushLater(), REST_WAIT_MS);
    } else if (!this.flushPlanned) {
      // When the store has no more events at once, the batch is applied.
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

  /** Saves a later start from reading over other streams' events. */
  private takeCheckpoint(position: Position): void {
    this.flush();
    this.projection.apply([], position);
    this.position = position;
  }

  private flush(): void {
    const last = this.batch.at(-1);
    if (last === undefined) return;
    const events = this.batch;
    this.batch = [];
    const changed = this.projection.apply(events, last.position);
    this.lastFailure = null;
    this.position = last.position;
    this.eventsDone += events.length;
    this.listener.changed(changed);
  }
}

/** The interface of an event store for the rest of Espalier, whichever server stands behind it. */
import type { EventCorruptError } from './event-store.errors.js';

export type ExpectedRevision = bigint | 'no_stream' | 'stream_exists' | 'any';

export interface NewEvent {
  /** UUID; appending the same id again to the same stream is recognised as a retry and stores nothing twice. */
  id: string;
  type: string;
  /** Stored and returned byte for byte. */
  data: Uint8Array;
  /** Optional JSON bytes; JSON comes back re-serialised (same value, maybe other spacing), anything else verbatim. */
  metadata?: Uint8Array;
}

export interface Position {
  commit: bigint;
  prepare: bigint;
}

export interface StoredEvent {
  id: string;
  stream: string;
  revision: bigint;
  type: string;
  data: Uint8Array;
  metadata: Uint8Array;
  position: Position;
  /** Server time. Reads deliver it in whole seconds: keep an exact time inside the event where one matters. */
  createdAt: Date;
}

export type SubscriptionItem =
  | { kind: 'event'; event: StoredEvent }
  /** In the place of an event that can't be read any more; the events after it follow as usual. */
  | { kind: 'damaged'; error: EventCorruptError }
  | { kind: 'caughtUp' }
  | { kind: 'checkpoint'; position: Position };

/** Reconnects by itself from the last position seen, with backoff; never drops or repeats an event. */
export interface Subscription extends AsyncIterable<SubscriptionItem> {
  close(): Promise<void>;
}

export interface ReadOptions {
  /** Inclusive. Default: 'start' forwards, 'end' backwards. */
  from?: bigint | 'start' | 'end';
  direction?: 'forwards' | 'backwards';
  maxCount?: number;
}

export interface ReadAllOptions {
  /** Exclusive, in both directions. Default: the start forwards, the end backwards. */
  after?: Position;
  direction?: 'forwards' | 'backwards';
  maxCount?: number;
  /** Only streams whose name starts with one of these. */
  streamPrefixes?: string[];
}

export interface EventStore {
  /**
   * Appends all events or none.
   * @throws WrongExpectedRevisionError, EventStoreUnavailableError (outcome unknown), EventStoreError
   */
  append(stream: string, events: NewEvent[], expected: ExpectedRevision): Promise<{ revision: bigint; position?: Position }>;
  /**
   * A stream that does not exist yields nothing. @throws EventCorruptError after everything before the damaged event;
   * `readPastDamage` goes on behind it
   */
  read(stream: string, options?: ReadOptions): AsyncIterable<StoredEvent>;
  /** @throws EventCorruptError as `read` does */
  readAll(options?: ReadAllOptions): AsyncIterable<StoredEvent>;
  subscribe(stream: string, options: { after: bigint | 'start' | 'end' }): Subscription;
  subscribeAll(options: { after: Position | 'start' | 'end'; streamPrefixes?: string[] }): Subscription;
  /** From now on the stream shows its newest `count` events only; older ones may be cleared away. Needs the right to write its metadata. */
  keepNewest(stream: string, count: number): Promise<void>;
  /** When an append was last acknowledged, by performance.now(): a sign of life without a question. */
  readonly appendedAtMs?: number;
  /** Resolves when the server answers. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface ConnectedEventStore extends EventStore {
  /** The same store is found there now: later calls go there, and subscriptions go on there. */
  moveTo(connectionString: string): void;
}

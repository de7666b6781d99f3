/** The interface of an event store for the rest of Espalier. It is the same for every server behind it. */
import type { EventCorruptError } from './event-store.errors.js';

export type ExpectedRevision = bigint | 'no_stream' | 'stream_exists' | 'any';

export interface NewEvent {
  /** A UUID. If an id is appended to the same stream again, the append counts as a retry, and nothing is stored twice. */
  id: string;
  type: string;
  /** The data is stored and returned byte for byte. */
  data: Uint8Array;
  /** Optional bytes. JSON comes back with the same value but maybe with other spacing; all other bytes come back unchanged. */
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
  /** The server's time. Reads return it in whole seconds, so an event whose exact time matters holds the time in its data. */
  createdAt: Date;
}

export type SubscriptionItem =
  | { kind: 'event'; event: StoredEvent }
  /** Stands in the place of an event that can't be read any more. The events after it follow as usual. */
  | { kind: 'damaged'; error: EventCorruptError }
  | { kind: 'caughtUp' }
  | { kind: 'checkpoint'; position: Position };

/** Reconnects by itself after the last position seen, with growing delays. It never drops or repeats an event. */
export interface Subscription extends AsyncIterable<SubscriptionItem> {
  close(): Promise<void>;
}

export interface ReadOptions {
  /** The first revision to read, inclusive. The default is 'start' forwards and 'end' backwards. */
  from?: bigint | 'start' | 'end';
  direction?: 'forwards' | 'backwards';
  maxCount?: number;
}

export interface ReadAllOptions {
  /** The position after which reading starts, exclusive in both directions. The default is the start forwards and the end backwards. */
  after?: Position;
  direction?: 'forwards' | 'backwards';
  maxCount?: number;
  /** Only streams whose name begins with one of these prefixes are read. */
  streamPrefixes?: string[];
}

export interface EventStore {
  /**
   * Appends all events or none.
   * @throws WrongExpectedRevisionError, EventStoreUnavailableError (the events may have been stored or not), EventStoreError
   */
  append(stream: string, events: NewEvent[], expected: ExpectedRevision): Promise<{ revision: bigint; position?: Position }>;
  /**
   * Yields the events of a stream; a stream that does not exist yields nothing. @throws EventCorruptError after all events before the
   * damaged one. `readPastDamage` goes on behind it.
   */
  read(stream: string, options?: ReadOptions): AsyncIterable<StoredEvent>;
  /** Yields the events of all streams. @throws EventCorruptError after all events before the damaged one */
  readAll(options?: ReadAllOptions): AsyncIterable<StoredEvent>;
  subscribe(stream: string, options: { after: bigint | 'start' | 'end' }): Subscription;
  subscribeAll(options: { after: Position | 'start' | 'end'; streamPrefixes?: string[] }): Subscription;
  /**
   * From now on the stream shows only its newest `count` events, and older ones may be removed. The caller needs the right to write the
   * stream's metadata.
   */
  keepNewest(stream: string, count: number): Promise<void>;
  /** The time, by performance.now(), when an append was last acknowledged. It shows that the store works without asking it. */
  readonly appendedAtMs?: number;
  /** Resolves when the server answers. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface ConnectedEventStore extends EventStore {
  /** Moves to another address of the same store. Later calls and running subscriptions use this address. */
  moveTo(connectionString: string): void;
}

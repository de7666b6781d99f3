import {
  KurrentDBClient,
  StreamNotFoundError,
  streamNameFilter,
  type AllStreamSubscription,
  type BasicCredentials,
  type ResolvedEvent,
} from '@kurrent/kurrentdb-client';
import type {
  EventStore,
  ExpectedRevision,
  NewEvent,
  Position,
  ReadAllOptions,
  ReadOptions,
  StoredEvent,
  Subscription,
} from '../event-store.js';
import { EventStoreError, EventStoreUnavailableError } from '../event-store.errors.js';
import { translateError } from './errors.js';
import { toEventData, toStoredEvent } from './events.js';
import { connectionStringOf, loginOf, type ConnectOptions } from './connection-string.js';
import { LastingSubscription, type Feed } from './subscription.js';

/** The client's own deadline does not cover batch appends: without this, a server that hangs hangs the caller. */
const APPEND_TIMEOUT_MS = 15_000;
const START: Position = { commit: 0n, prepare: 0n };

/** The official client behind our interface. Works the same on the embedded server and on a cluster. */
export class KurrentEventStore implements EventStore {
  private readonly client: KurrentDBClient;
  /** Given to reads one by one: their path through the client takes the login of a connection string undecoded. */
  private readonly login: { credentials?: BasicCredentials };
  private readonly subscriptions = new Set<Subscription>();
  private closed = false;
  appendedAtMs = -Infinity;

  constructor(options: ConnectOptions) {
    const connectionString = connectionStringOf(options);
    this.client = KurrentDBClient.connectionString(connectionString);
    this.login = loginOf(connectionString);
  }

  async append(stream: string, events: NewEvent[], expected: ExpectedRevision) {
    this.checkOpen();
    const appending = this.client.appendToStream(stream, events.map(toEventData), { streamState: expected });
    try {
      const result = await withTimeout(appending, APPEND_TIMEOUT_MS);
      this.appendedAtMs = performance.now();
      return { revision: result.nextExpectedRevision, ...(result.position ? { position: result.position } : {}) };
    } catch (error) {
      throw translateError(error, { stream, expected });
    }
  }

  async *read(stream: string, options: ReadOptions = {}): AsyncGenerator<StoredEvent> {
    this.checkOpen();
    const direction = options.direction ?? 'forwards';
    const fromRevision = options.from ?? (direction === 'forwards' ? 'start' : 'end');
    const limit = options.maxCount === undefined ? {} : { maxCount: options.maxCount };
    if (options.maxCount === 0) return;
    try {
      yield* stored(this.client.readStream(stream, { direction, fromRevision, ...limit, ...this.login }));
    } catch (error) {
      if (error instanceof StreamNotFoundError) return;
      throw translateError(error);
    }
  }

  async *readAll(options: ReadAllOptions = {}): AsyncGenerator<StoredEvent> {
    this.checkOpen();
    const { after, direction = 'forwards', maxCount = Number.MAX_SAFE_INTEGER } = options;
    const fromPosition: Position | 'start' | 'end' = after ?? (direction === 'forwards' ? 'start' : 'end');
    const filter = options.streamPrefixes ? { filter: prefixFilter(options.streamPrefixes) } : {};
    // A read forwards begins with the event at the position itself.
    const inclusive = after !== undefined && direction === 'forwards';
    const request = { direction, fromPosition, maxCount: inclusive ? maxCount + 1 : maxCount, ...filter, ...this.login };
    let left = maxCount;
    if (left === 0) return;
    try {
      for await (const event of stored(this.client.readAll(request))) {
        if (inclusive && event.position.commit <= after.commit) continue;
        yield event;
        if (--left <= 0) return;
      }
    } catch (error) {
      throw translateError(error);
    }
  }

  subscribe(stream: string, { after }: { after: bigint | 'start' | 'end' }): Subscription {
    this.checkOpen();
    type From = bigint | 'start';
    return this.track(
      new LastingSubscription<From>(
        (from) => this.read(stream, { from: from === 'start' ? from : from + 1n }),
        (from) => this.client.subscribeToStream(stream, { fromRevision: from }) as unknown as Feed,
        async () => (after === 'end' ? await this.lastRevision(stream) : after),
        (item) => (item.kind === 'event' ? item.event.revision : undefined),
      ),
    );
  }

  subscribeAll(options: { after: Position | 'start' | 'end'; streamPrefixes?: string[] }): Subscription {
    this.checkOpen();
    const { after, streamPrefixes } = options;
    return this.track(
      new LastingSubscription<Position>(
        (from) => this.readAll({ after: from, ...(streamPrefixes ? { streamPrefixes } : {}) }),
        (fromPosition, onCheckpoint) => {
          const filter = streamPrefixes && {
            ...prefixFilter(streamPrefixes),
            checkpointReached: async (feed: AllStreamSubscription, position: Position) =>
              onCheckpoint(feed as unknown as Feed, position),
          };
          return this.client.subscribeToAll({ fromPosition, ...(filter ? { filter } : {}) }) as unknown as Feed;
        },
        async () => (after === 'end' ? await this.lastPosition() : after === 'start' ? START : after),
        (item) => (item.kind === 'event' ? item.event.position : item.kind === 'checkpoint' ? item.position : undefined),
      ),
    );
  }

  async keepNewest(stream: string, count: number): Promise<void> {
    this.checkOpen();
    try {
      await withTimeout(this.client.setStreamMetadata(stream, { maxCount: count }), APPEND_TIMEOUT_MS);
    } catch (error) {
      throw translateError(error, { stream, expected: 'any' });
    }
  }

  async ping(): Promise<void> {
    this.checkOpen();
    try {
      for await (const _ of this.client.readAll({ direction: 'backwards', fromPosition: 'end', maxCount: 1, ...this.login }));
    } catch (error) {
      throw translateError(error);
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    await Promise.allSettled([...this.subscriptions].map((subscription) => subscription.close()));
    await this.client.dispose();
  }

  /** A subscription "from the end" needs a fixed place to come back to when it reconnects. */
  private async lastRevision(stream: string): Promise<bigint | 'start'> {
    for await (const event of this.read(stream, { direction: 'backwards', maxCount: 1 })) return event.revision;
    return 'start';
  }

  private async lastPosition(): Promise<Position> {
    for await (const event of this.readAll({ direction: 'backwards', maxCount: 1 })) return event.position;
    return START;
  }

  private track<From>(subscription: LastingSubscription<From>): Subscription {
    this.subscriptions.add(subscription);
    subscription.onClosed = () => this.subscriptions.delete(subscription);
    return subscription;
  }

  private checkOpen(): void {
    if (this.closed) throw new EventStoreError('EVENT_STORE_CLOSED', 'this connection to the event store was closed');
  }
}

function prefixFilter(prefixes: string[]) {
  return streamNameFilter({ prefixes, checkpointInterval: 32 });
}

async function* stored(events: AsyncIterable<ResolvedEvent>): AsyncGenerator<StoredEvent> {
  for await (const resolved of events) {
    const event = toStoredEvent(resolved);
    if (event) yield event;
  }
}

async function withTimeout<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new EventStoreUnavailableError(`the event store did not answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

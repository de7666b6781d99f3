import {
  StreamNotFoundError,
  streamNameFilter,
  type AllStreamSubscription,
  type KurrentDBClient,
  type ResolvedEvent,
} from '@kurrent/kurrentdb-client';
import type {
  ConnectedEventStore,
  ExpectedRevision,
  NewEvent,
  Position,
  ReadAllOptions,
  ReadOptions,
  StoredEvent,
  Subscription,
} from '../event-store.js';
import { EventCorruptError, EventStoreError, EventStoreUnavailableError } from '../event-store.errors.js';
import { endOf, readPastDamage } from '../read-past-damage.js';
import { translateError } from './errors.js';
import { toEventData, toStoredEvent } from './events.js';
import type { ConnectOptions } from './connection-string.js';
import { connected, ReadingClient } from './reading-client.js';
import { LastingSubscription, type Feed } from './subscription.js';
import { upToDamage } from './read-up-to-damage.js';

/** The client's own deadline does not cover batch appends. Without this limit, a server that hangs would block the caller. */
const APPEND_TIMEOUT_MS = 15_000;
const START: Position = { commit: 0n, prepare: 0n };

/** Puts the official client behind the interface `EventStore`. It works the same with the embedded server and with a cluster. */
export class KurrentEventStore implements ConnectedEventStore {
  /** Appends and subscribes. */
  private client: KurrentDBClient;
  private reading: ReadingClient;
  private readonly subscriptions = new Set<Subscription>();
  private closed = false;
  appendedAtMs = -Infinity;

  constructor(options: ConnectOptions) {
    ({ client: this.client } = connected(options));
    this.reading = new ReadingClient(options);
  }

  moveTo(connectionString: string): void {
    this.checkOpen();
    const before = [this.client, this.reading];
    ({ client: this.client } = connected({ connectionString }));
    this.reading = new ReadingClient({ connectionString });
    for (const one of before) void one.dispose(); // it waits for streams that may never end, so this does not wait for it
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
    const { direction = 'forwards', maxCount = Number.MAX_SAFE_INTEGER } = options;
    const step = direction === 'forwards' ? 1n : -1n;
    let fromRevision = options.from ?? (direction === 'forwards' ? 'start' : 'end');
    let left = maxCount;
    yield* this.reading.read(({ client, login }) => {
      const readOn = async function* (most: number): AsyncGenerator<StoredEvent> {
        if (typeof fromRevision === 'bigint' && fromRevision < 0n) return;
        for await (const event of stored(client.readStream(stream, { direction, fromRevision, maxCount: most, ...login }))) {
          fromRevision = event.revision + step;
          left -= 1;
          yield event;
        }
      };
      return orNothing(upToDamage(readOn, left));
    });
  }

  async *readAll(options: ReadAllOptions = {}): AsyncGenerator<StoredEvent> {
    this.checkOpen();
    const { after, direction = 'forwards', maxCount = Number.MAX_SAFE_INTEGER } = options;
    const filter = options.streamPrefixes ? { filter: prefixFilter(options.streamPrefixes) } : {};
    let [last, wanted] = [after, maxCount];
    yield* this.reading.read(({ client, login }) => {
      const readOn = async function* (most: number, single: boolean): AsyncGenerator<StoredEvent> {
        // A read forwards begins with the event at the position itself, if that event passes the filter.
        const known = direction === 'forwards' && !single ? last : undefined;
        const next = direction === 'forwards' && single ? justBehind(last ?? START) : last;
        const fromPosition: Position | 'start' | 'end' = next ?? (direction === 'forwards' ? 'start' : 'end');
        let left = most;
        const events = client.readAll({ direction, fromPosition, maxCount: known ? most + 1 : most, ...filter, ...login });
        for await (const event of stored(events)) {
          if (known && event.position.commit <= known.commit) continue;
          last = event.position;
          wanted -= 1;
          yield event;
          if (--left <= 0) return;
        }
      };
      return upToDamage(readOn, wanted);
    });
  }

  subscribe(stream: string, { after }: { after: bigint | 'start' | 'end' }): Subscription {
    this.checkOpen();
    type From = bigint | 'start';
    return this.track(
      new LastingSubscription<From>(
        (from) => this.read(stream, { from: from === 'start' ? from : from + 1n }),
        (from) => this.client.subscribeToStream(stream, { fromRevision: from }) as unknown as Feed,
        async () => (after === 'end' ? await this.lastRevision(stream) : after),
        (item) => (item.kind === 'event' ? item.event : item.kind === 'damaged' ? item.error : undefined)?.revision,
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
            checkpointReached: async (feed: AllStreamSubscription, position: Position) => onCheckpoint(feed as unknown as Feed, position),
          };
          return this.client.subscribeToAll({ fromPosition, ...(filter ? { filter } : {}) }) as unknown as Feed;
        },
        async () => (after === 'end' ? await this.lastPosition() : after === 'start' ? START : after),
        (item) =>
          (item.kind === 'event' ? item.event : item.kind === 'damaged' ? item.error : item.kind === 'checkpoint' ? item : undefined)
            ?.position,
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
    const last = { direction: 'backwards', fromPosition: 'end', maxCount: 1 } as const;
    try {
      for await (const _ of this.reading.read(({ client, login }) => client.readAll({ ...last, ...login })));
    } catch (error) {
      if (!(error instanceof EventCorruptError)) throw error; // an answer that names a damaged event is an answer too
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    await Promise.allSettled([...this.subscriptions].map((subscription) => subscription.close()));
    await Promise.all([this.client.dispose(), this.reading.dispose()]);
  }

  /** The revision after which a subscription "from the end" starts, so that it has a fixed place to return to when it reconnects. */
  private async lastRevision(stream: string): Promise<bigint | 'start'> {
    for await (const event of readPastDamage(this, stream, { direction: 'backwards', maxCount: 1 })) return event.revision;
    return 'start';
  }

  private async lastPosition(): Promise<Position> {
    return (await endOf(this)) ?? START;
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

/** The events of a stream, or none where there is no such stream. */
async function* orNothing(events: AsyncIterable<StoredEvent>): AsyncGenerator<StoredEvent> {
  try {
    yield* events;
  } catch (error) {
    if (!(error instanceof StreamNotFoundError)) throw error;
  }
}

function justBehind({ commit, prepare }: Position): Position {
  return { commit: commit + 1n, prepare: prepare + 1n };
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
    timer = setTimeout(() => reject(new EventStoreUnavailableError(`the event store did not answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

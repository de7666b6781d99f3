import { setTimeout as delay } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import type { Position, StoredEvent, Subscription, SubscriptionItem } from '../event-store.js';
import type { ResolvedEvent } from '@kurrent/kurrentdb-client';
import { EventCorruptError, EventStoreUnavailableError } from '../event-store.errors.js';
import { translateError } from './errors.js';
import { toStoredEvent } from './events.js';

/** A subscription of the official client over one connection. */
export interface Feed extends Readable {
  unsubscribe(): Promise<void>;
}

const MARK = Symbol('mark');
interface FeedMark {
  [MARK]: SubscriptionItem;
}

const FIRST_DELAY_MS = 50;
const LONGEST_DELAY_MS = 5000;

/**
 * A subscription that outlives its connections. It first reads the existing events, which is more than twice as fast as a subscription.
 * Then `open` starts a subscription after the last event seen. When that breaks, both are done again after a growing delay. A damaged event
 * is reported in its place and skipped. Every other error ends the subscription and is thrown to the reader.
 */
export class LastingSubscription<From> implements Subscription {
  private readonly closing = new AbortController();
  private feed: Feed | undefined;
  /** Called once the subscription is closed. */
  onClosed: () => void = () => {};

  constructor(
    private readonly readAfter: (after: From) => AsyncIterable<StoredEvent>,
    private readonly open: (after: From, onCheckpoint: (feed: Feed, position: Position) => void) => Promise<Feed> | Feed,
    private readonly firstAfter: () => Promise<From>,
    private readonly afterItem: (item: SubscriptionItem) => From | undefined,
  ) {}

  async close(): Promise<void> {
    this.closing.abort();
    this.onClosed();
    const feed = this.feed;
    if (!feed) return;
    feed.destroy();
    await feed.unsubscribe().catch(() => {});
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<SubscriptionItem> {
    let after: From | undefined;
    let waitMs = FIRST_DELAY_MS;
    try {
      connecting: while (!this.closing.signal.aborted) {
        try {
          after ??= await this.firstAfter();
          for await (const item of this.read(after)) {
            if (this.closing.signal.aborted) return;
            after = this.afterItem(item) ?? after;
            yield item;
            if (item.kind === 'damaged') continue connecting;
          }
          for await (const item of this.connect(after)) {
            after = this.afterItem(item) ?? after;
            waitMs = FIRST_DELAY_MS;
            yield item;
          }
        } catch (error) {
          if (this.closing.signal.aborted) return;
          const named = translateError(error);
          if (named instanceof EventCorruptError) continue; // the subscription met the damaged event: it is read again, and reported there
          if (!(named instanceof EventStoreUnavailableError)) throw named;
        }
        await delay(waitMs, undefined, { signal: this.closing.signal }).catch(() => {});
        waitMs = Math.min(waitMs * 2, LONGEST_DELAY_MS);
      }
    } finally {
      // The reader left its loop.
      await this.close();
    }
  }

  /** Yields the existing events, up to a damaged one. */
  private async *read(after: From): AsyncGenerator<SubscriptionItem> {
    try {
      for await (const event of this.readAfter(after)) yield { kind: 'event', event };
    } catch (error) {
      if (!(error instanceof EventCorruptError)) throw error;
      yield { kind: 'damaged', error };
    }
  }

  private async *connect(after: From): AsyncGenerator<SubscriptionItem> {
    const feed = await this.open(after, (source, position) => source.push(mark({ kind: 'checkpoint', position })));
    this.feed = feed;
    // The mark is pushed into the stream itself, so that it arrives after the events before it.
    feed.on('caughtUp', () => feed.push(mark({ kind: 'caughtUp' })));
    // The loop below throws the first error. Further errors may follow while the connection breaks, and are ignored.
    feed.on('error', () => {});
    try {
      if (this.closing.signal.aborted) return;
      for await (const chunk of feed as AsyncIterable<ResolvedEvent | FeedMark>) {
        if (MARK in chunk) {
          yield chunk[MARK];
          continue;
        }
        const event = toStoredEvent(chunk);
        if (event) yield { kind: 'event', event };
      }
    } finally {
      this.feed = undefined;
      feed.unsubscribe().catch(() => {});
    }
  }
}

function mark(item: SubscriptionItem): FeedMark {
  return { [MARK]: item };
}

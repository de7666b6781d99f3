// Wraps an event store and notes the newest event that goes through it, in an append or in a subscription.
import type { EventStore, ExpectedRevision, NewEvent, StoredEvent, Subscription, SubscriptionItem } from '../event-store.js';
import type { SeenEvent } from './seen-events.js';

export interface Notes {
  note(event: SeenEvent): void;
}

/** @param passes the streams whose old events may be removed, so that a missing event there does not mean a loss */
export function notingStore(store: EventStore, seen: Notes, passes: ReadonlySet<string>): EventStore {
  const isNoted = ({ stream }: StoredEvent): boolean => !passes.has(stream);
  const note = ({ stream, revision, id, position }: StoredEvent): void => seen.note({ position: position.commit, stream, revision, id });
  return {
    get appendedAtMs(): number {
      return store.appendedAtMs ?? -Infinity;
    },
    append: async (stream, events, expected) => {
      const result = await store.append(stream, events, expected);
      if (result.position !== undefined && events.length > 0 && !passes.has(stream)) {
        const { revision, position } = result;
        seen.note({ position: position.commit, stream, revision, id: idAt(revision, events, expected) });
      }
      return result;
    },
    read: (stream, options) => store.read(stream, options),
    readAll: (options) => store.readAll(options),
    subscribe: (stream, options) => store.subscribe(stream, options),
    subscribeAll: (options) => noted(store.subscribeAll(options), isNoted, note),
    keepNewest: (stream, count) => store.keepNewest(stream, count),
    ping: () => store.ping(),
    close: () => store.close(),
  };
}

/**
 * Returns the id of the last appended event; null where it is uncertain. A store that is not told a revision may answer a repeated append
 * as an earlier one.
 */
function idAt(revision: bigint, events: NewEvent[], expected: ExpectedRevision): string | null {
  const before = expected === 'no_stream' ? -1n : expected;
  return typeof before === 'bigint' && before + BigInt(events.length) === revision ? events.at(-1)!.id : null;
}

/** A note is a write to a file. While a subscription catches up, only one event in this number is noted, and the last one. */
const NOTED_EVERY = 256;

function noted(subscription: Subscription, isNoted: (event: StoredEvent) => boolean, note: (event: StoredEvent) => void): Subscription {
  return {
    close: () => subscription.close(),
    async *[Symbol.asyncIterator](): AsyncGenerator<SubscriptionItem> {
      let [caughtUp, since] = [false, 0];
      let last: StoredEvent | null = null;
      const noteLast = (): void => {
        if (last !== null) note(last);
        [last, since] = [null, 0];
      };
      try {
        for await (const item of subscription) {
          if (item.kind === 'event' && isNoted(item.event)) [last, since] = [item.event, since + 1];
          caughtUp ||= item.kind === 'caughtUp';
          if (caughtUp || since >= NOTED_EVERY) noteLast();
          yield item;
        }
      } finally {
        noteLast();
      }
    },
  };
}

import type { EventStore } from '#event-store';
import type { Tallies } from './tallies.js';

/** Returns the same store with appends that are timed. */
export function timedStore(store: EventStore, tallies: Tallies): EventStore {
  return {
    get appendedAtMs(): number {
      return store.appendedAtMs ?? -Infinity;
    },
    append: (stream, events, expected) => tallies.timeAppend(() => store.append(stream, events, expected)),
    read: (stream, options) => store.read(stream, options),
    readAll: (options) => store.readAll(options),
    subscribe: (stream, options) => store.subscribe(stream, options),
    subscribeAll: (options) => store.subscribeAll(options),
    keepNewest: (stream, count) => store.keepNewest(stream, count),
    ping: () => store.ping(),
    close: () => store.close(),
  };
}

import type { StoredEvent } from '../event-store.js';
import { EventCorruptError } from '../event-store.errors.js';
import { translateError } from './errors.js';

/** Continues after the last event that was read. `single`: reads only one event, the next one. */
export type ReadOn = (most: number, single: boolean) => AsyncIterable<StoredEvent>;

/**
 * The official client drops the events that came right before an error. So if the error says that an event is damaged, the events are read
 * one by one, until reading the damaged event itself fails.
 */
export async function* upToDamage(readOn: ReadOn, maxCount: number): AsyncGenerator<StoredEvent> {
  let left = maxCount;
  if (left <= 0) return;
  try {
    for await (const event of readOn(left, false)) {
      left -= 1;
      yield event;
    }
    return;
  } catch (error) {
    if (!(translateError(error) instanceof EventCorruptError)) throw error;
  }
  for (let before = -1; left > 0 && left !== before;) {
    before = left;
    for await (const event of readOn(1, true)) {
      left -= 1;
      yield event;
    }
  }
}

import type { StoredEvent } from '../event-store.js';
import { EventCorruptError } from '../event-store.errors.js';
import { translateError } from './errors.js';

/** Goes on where the call before ended. `single`: one event only, from the very next place on. */
export type ReadOn = (most: number, single: boolean) => AsyncIterable<StoredEvent>;

/**
 * The official client drops events that came right before an error. When that error says that an event is damaged, they are
 * asked for one by one, until it is the damaged one itself that fails.
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

// Reads past events that can't be read any more.
import type { EventStore, Position, ReadOptions, StoredEvent } from './event-store.js';
import { EventCorruptError } from './event-store.errors.js';

/** Yields the events of a stream, with an error in the place of each damaged event. */
export async function* readPastDamage(
  store: Pick<EventStore, 'read'>,
  stream: string,
  { from, direction = 'forwards', maxCount = Number.MAX_SAFE_INTEGER }: ReadOptions = {},
): AsyncGenerator<StoredEvent | EventCorruptError> {
  const step = direction === 'forwards' ? 1n : -1n;
  let next = from;
  let left = maxCount;
  while (left > 0 && (typeof next !== 'bigint' || next >= 0n)) {
    let damage: EventCorruptError | undefined;
    try {
      for await (const event of store.read(stream, { direction, maxCount: left, ...(next === undefined ? {} : { from: next }) })) {
        next = event.revision + step;
        left -= 1;
        yield event;
      }
    } catch (error) {
      if (!(error instanceof EventCorruptError)) throw error;
      damage = error;
    }
    if (!damage) return;
    next = damage.revision + step;
    left -= 1;
    yield damage;
  }
}

/** Returns the position of the last event in the store, damaged or not; null: the store is empty. */
export async function endOf(store: EventStore): Promise<Position | null> {
  try {
    for await (const { position } of store.readAll({ direction: 'backwards', maxCount: 1 })) return position;
    return null;
  } catch (error) {
    if (error instanceof EventCorruptError) return error.position;
    throw error;
  }
}

import { bytesToUuid, type ProposedEvent } from './store/event-record.js';
import { sizeOf } from './wire-values.js';
import { EventTooLarge, MaximumAppendSizeExceeded } from './store/refusals.js';

const MiB = 1 << 20;
/** The largest append, all its events together. */
export const MAX_APPEND_BYTES = 64 * MiB;
const MAX_EVENT_BYTES = 16 * MiB;
/** The room for the framing of messages around the largest append. */
export const MESSAGE_OVERHEAD_BYTES = MiB;

/** @throws MaximumAppendSizeExceeded, EventTooLarge */
export function checkSizes(stream: string, events: ProposedEvent[]): void {
  let total = 0;
  for (const event of events) {
    const size = sizeOf(event);
    if (size > MAX_EVENT_BYTES) {
      throw new EventTooLarge(stream, bytesToUuid(event.eventId), size, MAX_EVENT_BYTES);
    }
    total += size;
  }
  if (total > MAX_APPEND_BYTES) throw new MaximumAppendSizeExceeded(MAX_APPEND_BYTES);
}

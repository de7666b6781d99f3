import type { Limits } from './context.js';
import { bytesToUuid, type ProposedEvent } from './event-record.js';
import { sizeOf } from './wire-values.js';
import { EventTooLarge, MaximumAppendSizeExceeded } from './refusals.js';

const MiB = 1 << 20;
export const DEFAULT_LIMITS: Limits = { maxAppendBytes: 64 * MiB, maxEventBytes: 16 * MiB };
/** Room for the framing of messages around the largest append. */
export const MESSAGE_OVERHEAD_BYTES = MiB;

/** @throws MaximumAppendSizeExceeded, EventTooLarge */
export function checkSizes(stream: string, events: ProposedEvent[], limits: Limits): void {
  let total = 0;
  for (const event of events) {
    const size = sizeOf(event);
    if (size > limits.maxEventBytes) {
      throw new EventTooLarge(stream, bytesToUuid(event.eventId), size, limits.maxEventBytes);
    }
    total += size;
  }
  if (total > limits.maxAppendBytes) throw new MaximumAppendSizeExceeded(limits.maxAppendBytes);
}

import { binaryEvent, type EventData, type ResolvedEvent } from '@kurrent/kurrentdb-client';
import type { NewEvent, StoredEvent } from '../event-store.js';

const NOTHING = new Uint8Array();

/**
 * Sends an event's data as bytes, not as JSON: the client would parse JSON and write it again, but data that is signed or hashed must come
 * back byte for byte.
 */
export function toEventData(event: NewEvent): EventData {
  return binaryEvent({
    id: event.id,
    type: event.type,
    data: plainBytes(event.data),
    ...(event.metadata ? { metadata: plainBytes(event.metadata) } : {}),
  });
}

/** Returns the bytes as a plain Uint8Array. The client takes only this exact class for bytes, so it would take a Buffer for an object. */
function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function toStoredEvent({ event, commitPosition }: ResolvedEvent): StoredEvent | undefined {
  if (!event) return undefined;
  const position = event.position ?? { commit: commitPosition ?? 0n, prepare: commitPosition ?? 0n };
  return {
    id: event.id,
    stream: event.streamId,
    revision: event.revision,
    type: event.type,
    data: bytesOf(event.data),
    metadata: bytesOf(event.metadata),
    position,
    createdAt: event.created,
  };
}

/** Returns the bytes of a value. Other writers of a shared cluster may store JSON, which the client has parsed. */
function bytesOf(value: unknown): Uint8Array {
  if (value === undefined || value === null) return NOTHING;
  return value instanceof Uint8Array ? value : Buffer.from(JSON.stringify(value));
}

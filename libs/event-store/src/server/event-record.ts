import { crc32 } from 'node:zlib';

/** An event as stored. Positions and revisions are numbers: 2^53 bytes of events are out of reach. */
export interface EventRecord {
  position: number;
  stream: string;
  revision: number;
  /** 16 bytes of the UUID. */
  eventId: Buffer;
  type: string;
  isJson: boolean;
  /** Microseconds since 1970. */
  createdUs: number;
  data: Buffer;
  metadata: Buffer;
}

export interface ProposedEvent {
  eventId: Buffer;
  type: string;
  isJson: boolean;
  data: Buffer;
  metadata: Buffer;
}

/** The revision of a tombstone; on the wire it is the largest signed 64-bit number. */
export const TOMBSTONE_REVISION = Number.MAX_SAFE_INTEGER;

export function checksumOf(streamName: string, event: Omit<EventRecord, 'stream'>): number {
  let sum = event.data.length > 0 ? crc32(event.data) : 0;
  // zlib starts anew when it is given an empty buffer without memory behind it, which SQLite returns for no bytes.
  if (event.metadata.length > 0) sum = crc32(event.metadata, sum);
  sum = crc32(event.eventId, sum);
  return crc32(`${streamName}\n${event.type}\n${event.position} ${event.revision} ${event.isJson ? 1 : 0} ${event.createdUs}`, sum);
}

export function uuidToBytes(uuid: string): Buffer | undefined {
  const hex = uuid.replaceAll('-', '');
  return /^[0-9a-f]{32}$/i.test(hex) ? Buffer.from(hex, 'hex') : undefined;
}

export function bytesToUuid(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Microseconds since 1970, by the wall clock. Order comes from positions, so a clock that jumps can't reorder events. */
export function nowUs(): number {
  return Date.now() * 1000;
}

import { crc32 } from 'node:zlib';

/** An event as it is stored. Positions and revisions are numbers, since a store never reaches 2^53 bytes of events. */
export interface EventRecord {
  position: number;
  stream: string;
  revision: number;
  /** The 16 bytes of the UUID. */
  eventId: Buffer;
  type: string;
  isJson: boolean;
  /** The time in microseconds since 1970. */
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

export function checksumOf(streamName: string, event: Omit<EventRecord, 'stream'>): number {
  let sum = event.data.length > 0 ? crc32(event.data) : 0;
  // For an empty buffer without memory behind it, which SQLite returns for an empty value, zlib would start a new sum.
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

/** The wall clock in microseconds since 1970. Positions give the order, so a clock that jumps can't reorder events. */
export function nowUs(): number {
  return Date.now() * 1000;
}

import { bytesToUuid, type EventRecord } from './store/event-record.js';
import { sharedPb } from './protocol-classes.js';

/*
 * ReadResp messages that hold an event, written straight to bytes. Reads and subscriptions spend most of their time here, and the generated
 * classes are several times slower. The field numbers are those of streams.proto. A test decodes the bytes with the generated classes.
 */
const MAX_VARINT_BYTES = 9;
const JSON_ENTRY = mapEntry('content-type', Buffer.from('application/json'));
const BYTES_ENTRY = mapEntry('content-type', Buffer.from('application/octet-stream'));

export function encodeReadEvent(record: EventRecord, structuredUuid: boolean): Buffer {
  const parts: Buffer[] = [];
  let size = 0;
  const add = (part: Buffer) => {
    parts.push(part);
    size += part.length;
  };
  addRecorded(add, record, structuredUuid);
  add(varintField(0x18, record.position));
  return Buffer.concat([lengthPrefix(0x0a, size), ...parts]);
}

const encoded = new WeakMap<EventRecord, Buffer>();

/** Encodes a record once for all subscribers that get it. */
export function encodeShared(record: EventRecord): Buffer {
  let bytes = encoded.get(record);
  if (bytes === undefined) encoded.set(record, (bytes = encodeReadEvent(record, false)));
  return bytes;
}

function addRecorded(add: (part: Buffer) => void, record: EventRecord, structuredUuid: boolean): void {
  const name = Buffer.from(record.stream);
  const head = Buffer.concat([
    uuidField(record.eventId, structuredUuid),
    lengthPrefix(0x12, name.length + 1 + varintSize(name.length)),
    lengthPrefix(0x1a, name.length),
    name,
    varintField(0x18, record.revision),
    varintField(0x20, record.position),
    varintField(0x28, record.position),
    mapEntry('type', Buffer.from(record.type)),
    record.isJson ? JSON_ENTRY : BYTES_ENTRY,
    // Ticks of 100 ns go beyond 2^53. They stay exact when they are written as text from microseconds.
    mapEntry('created', Buffer.from(`${record.createdUs}0`)),
  ]);
  const metadata = record.metadata.length > 0 ? lengthPrefix(0x3a, record.metadata.length) : undefined;
  const data = record.data.length > 0 ? lengthPrefix(0x42, record.data.length) : undefined;
  const size = head.length + (metadata ? metadata.length + record.metadata.length : 0) + (data ? data.length + record.data.length : 0);
  add(lengthPrefix(0x0a, size));
  add(head);
  for (const [prefix, bytes] of [
    [metadata, record.metadata],
    [data, record.data],
  ] as const) {
    if (!prefix) continue;
    add(prefix);
    add(bytes);
  }
}

function uuidField(eventId: Buffer, structured: boolean): Buffer {
  const uuid = structured
    ? Buffer.from(structuredUuid(eventId).serializeBinary())
    : Buffer.concat([lengthPrefix(0x12, 36), Buffer.from(bytesToUuid(eventId), 'latin1')]);
  return Buffer.concat([lengthPrefix(0x0a, uuid.length), uuid]);
}

function structuredUuid(eventId: Buffer): sharedPb.UUID {
  const structured = new sharedPb.UUID.Structured();
  structured.setMostSignificantBits(eventId.readBigInt64BE(0).toString());
  structured.setLeastSignificantBits(eventId.readBigInt64BE(8).toString());
  const uuid = new sharedPb.UUID();
  uuid.setStructured(structured);
  return uuid;
}

function mapEntry(key: string, value: Buffer): Buffer {
  const keyBytes = Buffer.from(key);
  const entry = Buffer.concat([lengthPrefix(0x0a, keyBytes.length), keyBytes, lengthPrefix(0x12, value.length), value]);
  return Buffer.concat([lengthPrefix(0x32, entry.length), entry]);
}

function lengthPrefix(tag: number, length: number): Buffer {
  return varintField(tag, length);
}

function varintField(tag: number, value: number): Buffer {
  const buffer = Buffer.allocUnsafe(1 + MAX_VARINT_BYTES);
  buffer[0] = tag;
  let at = 1;
  let rest = value;
  while (rest >= 0x80) {
    buffer[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  buffer[at++] = rest;
  return buffer.subarray(0, at);
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size += 1;
  return size;
}

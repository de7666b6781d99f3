import type { ProposedEvent } from './store/event-record.js';
import { uuidToBytes } from './store/event-record.js';
import { sharedPb, timestampPb } from './protocol-classes.js';
import { InvalidArgument, type Expected } from './store/refusals.js';

/** Converts values between the protocol's messages and the store. */

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function streamNameOf(identifier: sharedPb.StreamIdentifier | undefined): string {
  const name = identifier ? bufferOf(identifier.getStreamName_asU8()).toString('utf8') : '';
  if (!name) throw new InvalidArgument('stream_identifier: a stream needs a name');
  return name;
}

export function streamIdentifier(name: string): sharedPb.StreamIdentifier {
  const identifier = new sharedPb.StreamIdentifier();
  identifier.setStreamName(Buffer.from(name));
  return identifier;
}

function uuidBytesOf(uuid: sharedPb.UUID | undefined): Buffer {
  const structured = uuid?.getStructured();
  if (structured) {
    const bytes = Buffer.alloc(16);
    bytes.writeBigInt64BE(BigInt.asIntN(64, BigInt(structured.getMostSignificantBits())), 0);
    bytes.writeBigInt64BE(BigInt.asIntN(64, BigInt(structured.getLeastSignificantBits())), 8);
    return bytes;
  }
  const bytes = uuidToBytes(uuid?.getString() ?? '');
  if (!bytes) throw new InvalidArgument(`id: "${uuid?.getString() ?? ''}" is not a UUID`);
  return bytes;
}

interface ProposedMessage {
  getId(): sharedPb.UUID | undefined;
  getMetadataMap(): { get(key: string): string | undefined };
  getCustomMetadata_asU8(): Uint8Array;
  getData_asU8(): Uint8Array;
}

export function proposedEventOf(message: ProposedMessage): ProposedEvent {
  const metadata = message.getMetadataMap();
  const type = metadata.get('type');
  if (!type) throw new InvalidArgument('metadata.type: an event needs a type');
  return {
    eventId: uuidBytesOf(message.getId()),
    type,
    isJson: metadata.get('content-type') === 'application/json',
    data: bufferOf(message.getData_asU8()),
    metadata: bufferOf(message.getCustomMetadata_asU8()),
  };
}

/** The number of bytes that count towards the limits on events and appends. */
export function sizeOf(event: ProposedEvent): number {
  return event.data.length + event.metadata.length + event.type.length * 2;
}

interface ExpectedMessage {
  hasNoStream(): boolean;
  hasAny(): boolean;
  hasStreamExists(): boolean;
}

export function expectedOf(message: ExpectedMessage, revision: string | undefined): Expected {
  if (revision !== undefined) return clampToSafe(revision);
  if (message.hasNoStream()) return 'no_stream';
  if (message.hasStreamExists()) return 'stream_exists';
  return 'any';
}

/** Reads a revision or position. In messages they reach 2^64; in the store they stay below 2^53. */
export function clampToSafe(text: string): number {
  return Math.min(Number(text), Number.MAX_SAFE_INTEGER);
}

export function timestampNow(): timestampPb.Timestamp {
  return timestampPb.Timestamp.fromDate(new Date());
}

import { encodeReadEvent } from './event-encoding.js';
import { uuidToBytes, type EventRecord } from './store/event-record.js';
import { streamsPb } from './protocol-classes.js';

const ID = '0f8fad5b-d9cb-469f-a165-70867728950e';

function record(changes: Partial<EventRecord> = {}): EventRecord {
  return {
    position: 2 ** 40 + 123,
    stream: 'pruningRun-ü🌳',
    revision: 300,
    eventId: uuidToBytes(ID)!,
    type: 'MasksUpdated',
    isJson: true,
    createdUs: 1_795_537_000_123_456,
    data: Buffer.from('{"a":1}'),
    metadata: Buffer.from('{"m":2}'),
    ...changes,
  };
}

/** Compares the hand-written encoding with the protocol's generated classes. */
describe('encoding of events', () => {
  test('a read event', () => {
    const event = streamsPb.ReadResp.deserializeBinary(encodeReadEvent(record(), false)).getEvent()!;
    const recorded = event.getEvent()!;
    expect(event.getCommitPosition()).toBe(String(2 ** 40 + 123));
    expect(recorded.getId()!.getString()).toBe(ID);
    expect(Buffer.from(recorded.getStreamIdentifier()!.getStreamName_asU8()).toString()).toBe('pruningRun-ü🌳');
    expect([recorded.getStreamRevision(), recorded.getPreparePosition()]).toEqual(['300', String(2 ** 40 + 123)]);
    expect(Object.fromEntries(recorded.getMetadataMap().toArray())).toEqual({
      type: 'MasksUpdated',
      'content-type': 'application/json',
      created: '17955370001234560',
    });
    expect(Buffer.from(recorded.getData_asU8()).toString()).toBe('{"a":1}');
    expect(Buffer.from(recorded.getCustomMetadata_asU8()).toString()).toBe('{"m":2}');
  });

  test('an event without data, with a structured id', () => {
    const empty = record({ data: Buffer.alloc(0), metadata: Buffer.alloc(0), isJson: false });
    const event = streamsPb.ReadResp.deserializeBinary(encodeReadEvent(empty, true)).getEvent()!.getEvent()!;
    expect(event.getData_asU8()).toHaveLength(0);
    const structured = event.getId()!.getStructured()!;
    expect(BigInt.asUintN(64, BigInt(structured.getMostSignificantBits())).toString(16)).toBe('f8fad5bd9cb469f');
    expect(BigInt.asUintN(64, BigInt(structured.getLeastSignificantBits())).toString(16)).toBe('a16570867728950e');
  });

  test('a large event', () => {
    const data = Buffer.alloc(1 << 20, 7);
    const event = streamsPb.ReadResp.deserializeBinary(encodeReadEvent(record({ data }), false)).getEvent()!;
    expect(Buffer.from(event.getEvent()!.getData_asU8()).equals(data)).toBe(true);
  });
});

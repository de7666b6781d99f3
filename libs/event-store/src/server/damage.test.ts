import { randomUUID } from 'node:crypto';
import { damagedField } from './damage.js';
import { checksumOf, uuidToBytes, type EventRecord } from './event-record.js';

const whole: EventRecord = {
  position: 4711,
  stream: 'pruningRun-ä',
  revision: 300,
  eventId: uuidToBytes(randomUUID())!,
  type: 'MasksUpdated',
  isJson: false,
  createdUs: 1_795_000_000_123_000,
  data: Buffer.from(`{"at":"${'x'.repeat(500)}"}`),
  metadata: Buffer.from('{"a":1}'),
};
const checksum = checksumOf(whole.stream, whole);

function flipped(bytes: Buffer, at: number, by: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at]! ^= by;
  return copy;
}

describe('one changed byte names its field', () => {
  test.each(['data', 'metadata', 'eventId'] as const)('%s, at every place', (field) => {
    for (let at = 0; at < whole[field].length; at += 1) {
      for (const by of [1, 0x80, 0xff, 0x5a]) {
        const named = damagedField({ ...whole, [field]: flipped(whole[field], at, by) }, checksum);
        expect(named).toBe(field === 'eventId' ? 'event id' : `${field}, byte ${at}`);
      }
    }
  });

  test('type, stream, numbers, and the checksum itself', () => {
    expect(damagedField({ ...whole, type: 'MasksUpdatec' }, checksum)).toBe('type');
    expect(damagedField({ ...whole, stream: 'qruningRun-ä' }, checksum)).toBe('stream');
    expect(damagedField({ ...whole, isJson: true }, checksum)).toBe('is_json');
    expect(damagedField({ ...whole, createdUs: whole.createdUs + 2 ** 24 }, checksum)).toBe('created');
    expect(damagedField({ ...whole, revision: whole.revision ^ 0x100 }, checksum)).toBe('revision');
    expect(damagedField({ ...whole, position: whole.position ^ 0x20 }, checksum)).toBe('position');
    expect(damagedField(whole, (checksum ^ 0x00ff0000) >>> 0)).toBe('checksum');
  });

  test('several wrong bytes name none', () => {
    const data = flipped(flipped(whole.data, 3, 0x11), 200, 0x22);
    expect(damagedField({ ...whole, data, type: 'Other' }, checksum)).toBeUndefined();
  });
});

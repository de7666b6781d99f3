import { checksumOf, type EventRecord } from './event-record.js';

/**
 * Which field of an event no longer matches its checksum, when one changed byte explains it: CRC-32 is linear, so each
 * byte at each place moves it by a value of its own. undefined when more than one byte is wrong.
 */
export function damagedField(record: EventRecord, checksum: number): string | undefined {
  for (const [field, name] of BYTES) if (!Buffer.isBuffer(record[field])) return name;
  if (typeof record.type !== 'string') return 'type';
  if (checksum < 0 || checksum > 0xffffffff || !Number.isInteger(checksum)) return 'checksum';
  const fits = (change: Partial<EventRecord>) => checksumOf(change.stream ?? record.stream, { ...record, ...change }) === checksum;
  if (fits({ isJson: !record.isJson })) return 'is_json';
  const difference = checksumOf(record.stream, record) ^ checksum;
  const found = damagedByte(record, difference >>> 0);
  if (found) return found;
  for (const [field, name] of NUMBERS) {
    if (oneByteAway(record[field]).some((value) => fits({ [field]: value }))) return name;
  }
  return isOneByte(difference) ? 'checksum' : undefined;
}

const BYTES = [
  ['eventId', 'event id'],
  ['data', 'data'],
  ['metadata', 'metadata'],
] as const;

const NUMBERS = [
  ['createdUs', 'created'],
  ['revision', 'revision'],
  ['position', 'position'],
] as const;

/** Walks from the last byte that the checksum covers to the first, taking back what each did to the difference. */
function damagedByte(record: EventRecord, difference: number): string | undefined {
  const text = `${record.position} ${record.revision} ${record.isJson ? 1 : 0} ${record.createdUs}`;
  const sections: [name: string | undefined, bytes: number][] = [
    [undefined, text.length + 1],
    ['type', Buffer.byteLength(record.type)],
    [undefined, 1],
    ['stream', Buffer.byteLength(record.stream)],
    ['event id', record.eventId.length],
    ['metadata', record.metadata.length],
    ['data', record.data.length],
  ];
  let rest = difference;
  for (const [name, bytes] of sections) {
    for (let left = bytes; left > 0; left -= 1) {
      const changedBy = BY_HIGH_BYTE[rest >>> 24]!;
      const before = (rest ^ TABLE[changedBy]!) >>> 0;
      if (before === 0 && name !== undefined) return name === 'data' || name === 'metadata' ? `${name}, byte ${left - 1}` : name;
      rest = ((before << 8) | changedBy) >>> 0;
    }
  }
  return undefined;
}

function oneByteAway(value: number): number[] {
  const changed: number[] = [];
  for (let byte = 0; byte < 7; byte += 1) {
    const unit = 2 ** (8 * byte);
    const here = Math.floor(value / unit) % 256;
    for (let other = 0; other < 256; other += 1) if (other !== here) changed.push(value + (other - here) * unit);
  }
  return changed;
}

function isOneByte(difference: number): boolean {
  return [0, 8, 16, 24].some((shift) => ((difference >>> 0) & ~(0xff << shift)) >>> 0 === 0);
}

const TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  let sum = value;
  for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  return sum >>> 0;
});
/** The high bytes of the table are all different, so a step of the checksum can be taken back. */
const BY_HIGH_BYTE = new Uint8Array(256);
TABLE.forEach((entry, value) => (BY_HIGH_BYTE[entry >>> 24] = value));

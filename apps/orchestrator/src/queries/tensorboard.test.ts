import { BinaryReader } from '@bufbuild/protobuf/wire';
import { fileVersion, maskedCrc, scalarsRecord } from './tensorboard.js';

test('the checksum is CRC-32C, masked as TensorFlow does', () => {
  // 0xe3069283 is the check value of CRC-32C for "123456789".
  const crc = 0xe3069283;
  expect(maskedCrc(Buffer.from('123456789'))).toBe((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
});

test('a record is its length, a checksum of that, the message and a checksum of it', () => {
  for (const bytes of [fileVersion(1), scalarsRecord({ step: 7, wallTime: 2, values: [['loss', 0.5]] })].map((one) => Buffer.from(one))) {
    const length = Number(bytes.readBigUInt64LE(0));
    expect(bytes).toHaveLength(length + 16);
    expect(bytes.readUInt32LE(8)).toBe(maskedCrc(bytes.subarray(0, 8)));
    expect(bytes.readUInt32LE(12 + length)).toBe(maskedCrc(bytes.subarray(12, 12 + length)));
  }
});

test('a scalar has its tag, value, step and time where TensorBoard looks for them', () => {
  const bytes = scalarsRecord({ step: 1_000_000, wallTime: 12.5, values: [['loss', 0.5]] });
  const event = new BinaryReader(bytes.subarray(12, -4));
  expect([event.tag(), event.double()]).toEqual([[1, 1], 12.5]);
  expect([event.tag(), event.int64()]).toEqual([[2, 0], 1_000_000n]);
  expect(event.tag()).toEqual([5, 2]);
  const summary = new BinaryReader(event.bytes());
  expect(summary.tag()).toEqual([1, 2]);
  const value = new BinaryReader(summary.bytes());
  expect([value.tag(), value.string()]).toEqual([[1, 2], 'loss']);
  expect([value.tag(), value.float()]).toEqual([[2, 5], 0.5]);
});

// Writes an event file of TensorBoard. It consists of TFRecords (a length and a message, each with a masked CRC-32C) of tensorflow.Event
// messages. Only the few fields that a scalar has are written.
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

const POLYNOMIAL = 0x82f63b78;
const MASK_DELTA = 0xa282ead8;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

export interface Scalars {
  step: number;
  /** In seconds since 1970. */
  wallTime: number;
  values: [tag: string, value: number][];
}

/** The record that every event file begins with. */
export function fileVersion(wallTime: number): Uint8Array {
  return record(
    new BinaryWriter().tag(1, WireType.Bit64).double(wallTime).tag(3, WireType.LengthDelimited).string('brain.Event:2').finish(),
  );
}

/** The fields: Event has 1 wall_time, 2 step, 5 summary; Summary has 1 value; Value has 1 tag, 2 simple_value. */
export function scalarsRecord({ step, wallTime, values }: Scalars): Uint8Array {
  const summary = new BinaryWriter();
  for (const [tag, value] of values)
    summary
      .tag(1, WireType.LengthDelimited)
      .bytes(new BinaryWriter().tag(1, WireType.LengthDelimited).string(tag).tag(2, WireType.Bit32).float(value).finish());
  return record(
    new BinaryWriter()
      .tag(1, WireType.Bit64)
      .double(wallTime)
      .tag(2, WireType.Varint)
      .int64(step)
      .tag(5, WireType.LengthDelimited)
      .bytes(summary.finish())
      .finish(),
  );
}

function record(message: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(16 + message.length);
  bytes.writeBigUInt64LE(BigInt(message.length), 0);
  bytes.writeUInt32LE(maskedCrc(bytes.subarray(0, 8)), 8);
  bytes.set(message, 12);
  bytes.writeUInt32LE(maskedCrc(message), 12 + message.length);
  return bytes;
}

export function maskedCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0;
}

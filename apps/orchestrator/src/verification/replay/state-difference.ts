// Measures how far two states are apart, tensor by tensor. Both are read once, side by side, so that memory holds a piece of each.
import { PassingBytes } from '#artifact-store';
import { headerOf, HEADER_BYTES_MAX, valuesOf, type StateHeader } from './state-file.js';

export interface TensorDifference {
  name: string;
  maxAbs: number;
  /** The largest difference as a share of the larger of the two values. */
  maxRel: number;
}

/** A multiple of the size of any value. */
const PIECE_BYTES = 1 << 20;

/** The tensors that differ, in the order of the file. The list is empty for equal states. */
export async function stateDifferences(
  recorded: AsyncIterable<Uint8Array>,
  computed: AsyncIterable<Uint8Array>,
): Promise<TensorDifference[]> {
  const [left, right] = [new PassingBytes(recorded), new PassingBytes(computed)];
  const [ours, theirs] = [await readHeader(left), await readHeader(right)];
  const differences: TensorDifference[] = [];
  // The tensors of a file stand in the order of their names.
  for (const name of [...new Set([...ours.keys(), ...theirs.keys()])].sort(byBytes)) {
    const [one, other] = [ours.get(name), theirs.get(name)];
    const isComparable = one !== undefined && other !== undefined && one.dtype === other.dtype && one.bytes === other.bytes;
    const difference = { name, maxAbs: isComparable ? 0 : Infinity, maxRel: isComparable ? 0 : Infinity };
    if (isComparable) {
      for (let at = 0; at < one.bytes; at += PIECE_BYTES) {
        const size = Math.min(PIECE_BYTES, one.bytes - at);
        const values = valuesOf(name, one.dtype, await readBytes(left, size));
        const others = valuesOf(name, one.dtype, await readBytes(right, size));
        for (let index = 0; index < values.length; index += 1) widen(difference, values[index]!, others[index]!);
      }
    } else {
      for await (const _ of left.next(one?.bytes ?? 0));
      for await (const _ of right.next(other?.bytes ?? 0));
    }
    if (difference.maxAbs > 0) differences.push(difference);
  }
  return differences;
}

const byBytes = (one: string, other: string): number => Buffer.compare(Buffer.from(one), Buffer.from(other));

async function readHeader(from: PassingBytes): Promise<StateHeader> {
  const size = new DataView(await readBytes(from, 8)).getBigUint64(0, true);
  return headerOf(new Uint8Array(await readBytes(from, Number(size < HEADER_BYTES_MAX ? size : HEADER_BYTES_MAX))));
}

async function readBytes(from: PassingBytes, bytes: number): Promise<ArrayBuffer> {
  const taken = new Uint8Array(bytes);
  let at = 0;
  for await (const chunk of from.next(bytes)) {
    taken.set(chunk, at);
    at += chunk.byteLength;
  }
  return taken.buffer;
}

function widen(difference: TensorDifference, left: number, right: number): void {
  if (Object.is(left, right) || left === right) return;
  const absolute = Math.abs(left - right);
  const size = Math.max(Math.abs(left), Math.abs(right));
  difference.maxAbs = Math.max(difference.maxAbs, Number.isNaN(absolute) ? Infinity : absolute);
  difference.maxRel = Math.max(difference.maxRel, Number.isNaN(absolute) ? Infinity : absolute / size);
}

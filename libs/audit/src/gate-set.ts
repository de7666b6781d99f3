// Writes a set of gates as a short text. Gates are numbered through a whole model: all heads layer by layer, then all intermediate units,
// then the hidden units. A set is written as the gaps between its gates, or as one bit for each gate, whichever text is shorter.
import { createHash } from 'node:crypto';

const GAPS = 0;
const BITS = 1;

/** One bit for each gate: gate g is bit g % 8 of byte g / 8. */
export type Gates = Uint8Array;

export const gateBytes = (count: number): number => Math.ceil(count / 8);

export function allGates(count: number): Gates {
  const gates = new Uint8Array(gateBytes(count)).fill(0xff);
  if (count % 8 !== 0) gates[gates.length - 1] = (1 << (count % 8)) - 1;
  return gates;
}

/**
 * Returns the gates that are in only one of the two sets. These are the changes between two sets; together with one set they give the other
 * set.
 */
export function gatesApart(left: Gates, right: Gates): Gates {
  return left.map((bits, index) => bits ^ (right[index] ?? 0));
}

export function gatesDigest(gates: Gates): string {
  return createHash('sha256').update(gates).digest('hex');
}

/** Encodes a set; the empty set is ''. */
export function encodeGates(gates: Gates): string {
  const gaps: number[] = [GAPS];
  let after = 0;
  for (const gate of gatesIn(gates)) {
    let gap = gate - after;
    for (; gap >= 0x80; gap >>>= 7) gaps.push((gap & 0x7f) | 0x80);
    gaps.push(gap);
    after = gate + 1;
    if (gaps.length > gates.length + 1) return Buffer.concat([Buffer.from([BITS]), gates]).toString('base64');
  }
  return gaps.length === 1 ? '' : Buffer.from(gaps).toString('base64');
}

/** Decodes a set; null: the text is not a set of `count` gates. */
export function decodeGates(text: string, count: number): Gates | null {
  const gates = new Uint8Array(gateBytes(count));
  if (text === '') return gates;
  const bytes = Buffer.from(text, 'base64');
  if (bytes[0] === BITS) {
    gates.set(bytes.subarray(1, 1 + gates.length));
    const beyond = count % 8 !== 0 && (gates.at(-1) ?? 0) >> (count % 8) !== 0;
    return bytes.length === 1 + gates.length && !beyond ? gates : null;
  }
  if (bytes[0] !== GAPS || bytes.length === 1) return null;
  let after = 0;
  let gap = 0;
  let shift = 0;
  for (const byte of bytes.subarray(1)) {
    gap |= (byte & 0x7f) << shift;
    shift = byte < 0x80 ? 0 : shift + 7;
    if (shift > 28) return null;
    if (shift > 0) continue;
    const gate = after + gap;
    if (gap < 0 || gate >= count) return null;
    gates[gate >> 3] = (gates[gate >> 3] ?? 0) | (1 << (gate & 7));
    after = gate + 1;
    gap = 0;
  }
  return shift === 0 ? gates : null;
}

/** Yields the gates in rising order, from `first` up to `end`, which is excluded. */
export function* gatesIn(gates: Gates, first = 0, end = gates.length * 8): Iterable<number> {
  for (let index = first >> 3; index * 8 < end; index += 1) {
    for (let bits = gates[index] ?? 0; bits !== 0; bits &= bits - 1) {
      const gate = index * 8 + (31 - Math.clz32(bits & -bits));
      if (gate >= first && gate < end) yield gate;
    }
  }
}

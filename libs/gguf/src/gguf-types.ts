// The types of tensors that GGUF files store, and their values. Each value is what ggml computes: the products below are exact in f64, and
// storing them in a Float32Array rounds once, as ggml's f32 arithmetic does.

export interface TensorType {
  name: string;
  /** Values and bytes of a block. */
  values: number;
  bytes: number;
  /** The safetensors type with the same bits; null: the values are written as F32. */
  same: 'F32' | 'F16' | 'BF16' | null;
  /** Writes the values of one block. */
  decode: (from: Buffer, at: number, to: Float32Array, place: number) => void;
}

function half(from: Buffer, at: number): number {
  const bits = from.readUInt16LE(at);
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size =
    exponent === 0 ? fraction * 2 ** -24 : exponent < 31 ? (1024 + fraction) * 2 ** (exponent - 25) : fraction === 0 ? Infinity : NaN;
  return bits >> 15 === 0 ? size : -size;
}
const signed = (byte: number): number => (byte << 24) >> 24;

/** Blocks of 32 values in nibbles, the first 16 values in the low ones. With `fifth`, each value has another bit in front. */
function nibbles(least: boolean, fifth: boolean): TensorType['decode'] {
  const high = least ? 4 : 2;
  const low = high + (fifth ? 4 : 0);
  const zero = least ? 0 : fifth ? 16 : 8;
  return (from, at, to, place) => {
    const scale = half(from, at);
    const add = least ? half(from, at + 2) : -0; // -0 changes no number, while 0 would change -0
    const bits = fifth ? from.readUInt32LE(at + high) : 0;
    for (let i = 0; i < 16; i++) {
      const byte = from[at + low + i]!;
      to[place + i] = scale * ((byte & 15) + (((bits >>> i) & 1) << 4) - zero) + add;
      to[place + i + 16] = scale * ((byte >> 4) + (((bits >>> (i + 16)) & 1) << 4) - zero) + add;
    }
  };
}

/** Blocks of 256 values in eight groups. Each group has a scale and a minimum of six bits. With `fifth`, each value has another bit. */
function groups(fifth: boolean): TensorType['decode'] {
  return (from, at, to, place) => {
    const [scale, least] = [half(from, at), half(from, at + 2)];
    const of = (i: number): number => from[at + 4 + i]!;
    const values = at + 16 + (fifth ? 32 : 0);
    for (let group = 0; group < 8; group++) {
      const [factor, minimum] =
        group < 4
          ? [of(group) & 63, of(group + 4) & 63]
          : [(of(group + 4) & 15) | ((of(group - 4) >> 6) << 4), (of(group + 4) >> 4) | ((of(group) >> 6) << 4)];
      const shift = group % 2 === 0 ? 0 : 4;
      const first = values + 32 * (group >> 1);
      for (let i = 0; i < 32; i++) {
        const top = fifth ? ((from[at + 16 + i]! >> group) & 1) << 4 : 0;
        to[place + 32 * group + i] = scale * factor * (((from[first + i]! >> shift) & 15) + top) - least * minimum;
      }
    }
  };
}

const q8: TensorType['decode'] = (from, at, to, place) => {
  const scale = half(from, at);
  for (let i = 0; i < 32; i++) to[place + i] = scale * signed(from[at + 2 + i]!);
};

/** Blocks of 256 values of six bits: four bits in one place, two in another, and a scale for each 16 values. */
const q6k: TensorType['decode'] = (from, at, to, place) => {
  const scale = half(from, at + 208);
  for (let i = 0; i < 256; i++) {
    const [part, within] = [i >> 7, i & 127];
    const low = from[at + 64 * part + (within & 63)]! >> (within < 64 ? 0 : 4);
    const high = from[at + 128 + 32 * part + (within & 31)]! >> (2 * (within >> 5));
    to[place + i] = scale * signed(from[at + 192 + (i >> 4)]!) * (((low & 15) | ((high & 3) << 4)) - 32);
  }
};

const bits = new DataView(new ArrayBuffer(4));
const bf16: TensorType['decode'] = (from, at, to, place) => {
  bits.setUint32(0, from.readUInt16LE(at) * 65_536);
  to[place] = bits.getFloat32(0);
};

/** By ggml's numbers. */
export const TENSOR_TYPES: Readonly<Record<number, TensorType>> = {
  0: { name: 'F32', values: 1, bytes: 4, same: 'F32', decode: (from, at, to, place) => (to[place] = from.readFloatLE(at)) },
  1: { name: 'F16', values: 1, bytes: 2, same: 'F16', decode: (from, at, to, place) => (to[place] = half(from, at)) },
  30: { name: 'BF16', values: 1, bytes: 2, same: 'BF16', decode: bf16 },
  2: { name: 'Q4_0', values: 32, bytes: 18, same: null, decode: nibbles(false, false) },
  3: { name: 'Q4_1', values: 32, bytes: 20, same: null, decode: nibbles(true, false) },
  6: { name: 'Q5_0', values: 32, bytes: 22, same: null, decode: nibbles(false, true) },
  7: { name: 'Q5_1', values: 32, bytes: 24, same: null, decode: nibbles(true, true) },
  8: { name: 'Q8_0', values: 32, bytes: 34, same: null, decode: q8 },
  12: { name: 'Q4_K', values: 256, bytes: 144, same: null, decode: groups(false) },
  13: { name: 'Q5_K', values: 256, bytes: 176, same: null, decode: groups(true) },
  14: { name: 'Q6_K', values: 256, bytes: 210, same: null, decode: q6k },
};

const OTHER_TYPES: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  10: 'Q2_K',
  11: 'Q3_K',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
};

/** Names a type that is not supported, and those that are. */
export function refusedType(number: number): string {
  const allowed = Object.values(TENSOR_TYPES).map(({ name }) => name);
  return `has the type ${OTHER_TYPES[number] ?? number}; allowed are ${allowed.join(', ')}`;
}

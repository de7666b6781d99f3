// Writes small GGUF files for tests.
import { TENSOR_TYPES } from '../gguf-types.js';

type Value = number | boolean | string | string[] | number[];
export interface WrittenTensor {
  name: string;
  /** The slowest dimension first. */
  shape: number[];
  /** ggml's number. */
  type: number;
  bytes: Buffer;
}
export interface WrittenGguf {
  metadata: Record<string, Value>;
  tensors: WrittenTensor[];
}

const u32 = (value: number): Buffer => {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
};
export const u64 = (value: bigint | number): Buffer => {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(value));
  return out;
};
const f32 = (value: number): Buffer => Buffer.from(Float32Array.of(value).buffer);
const text = (value: string): Buffer => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);

function typed(value: Value): Buffer {
  if (Array.isArray(value)) {
    const [type, write] = typeof value[0] === 'string' ? [8, text] : value.every(Number.isInteger) ? [4, u32] : [6, f32];
    return Buffer.concat([u32(9), u32(type), u64(value.length), ...value.map((one) => (write as (one: string | number) => Buffer)(one))]);
  }
  if (typeof value === 'string') return Buffer.concat([u32(8), text(value)]);
  if (typeof value === 'boolean') return Buffer.concat([u32(7), Buffer.from([value ? 1 : 0])]);
  return Number.isInteger(value) ? Buffer.concat([u32(4), u32(value)]) : Buffer.concat([u32(6), f32(value)]);
}

const padding = (bytes: number): Buffer => Buffer.alloc((32 - (bytes % 32)) % 32);

export function ggufBytes({ metadata, tensors }: WrittenGguf): Buffer {
  const parts = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(Object.keys(metadata).length)];
  for (const [key, value] of Object.entries(metadata)) parts.push(text(key), typed(value));
  let offset = 0;
  for (const { name, shape, type, bytes } of tensors) {
    parts.push(text(name), u32(shape.length), ...shape.toReversed().map(u64), u32(type), u64(offset));
    offset += bytes.length + padding(bytes.length).length;
  }
  parts.push(padding(parts.reduce((sum, { length }) => sum + length, 0)));
  for (const { bytes } of tensors) parts.push(bytes, padding(bytes.length));
  return Buffer.concat(parts);
}

/** The bytes of a tensor that count up from a start. */
export function f32Tensor(name: string, shape: number[], first: number): WrittenTensor {
  const values = Float32Array.from({ length: shape.reduce((product, width) => product * width, 1) }, (_, i) => first + i);
  return { name, shape, type: 0, bytes: Buffer.from(values.buffer) };
}

/** The blocks of a quantized tensor, with arbitrary bits, but finite scales. */
export function quantized(name: string, shape: number[], typeName: string): WrittenTensor {
  const [number, type] = Object.entries(TENSOR_TYPES).find(([, { name: one }]) => one === typeName)!;
  const blocks = shape.reduce((product, width) => product * width, 1) / type.values;
  const bytes = Buffer.from(Array.from({ length: blocks * type.bytes }, (_, i) => Math.imul(i, 2_654_435_761) >>> 24));
  const scales = typeName === 'Q6_K' ? [208] : [0, 2];
  for (let block = 0; block < blocks; block++) for (const at of scales) bytes[block * type.bytes + at + 1]! &= 0xbb;
  return { name, shape, type: Number(number), bytes };
}

/** A llama with 8 hidden units, 2 heads of 4 and 6 tokens. */
export function smallLlama(layers = 1): WrittenGguf {
  const layer = (number: number): WrittenTensor[] =>
    [
      f32Tensor('attn_norm', [8], 200),
      f32Tensor('attn_q', [8, 8], 300),
      f32Tensor('attn_k', [8, 8], 400),
      f32Tensor('attn_v', [8, 8], 500),
      f32Tensor('attn_output', [8, 8], 600),
      f32Tensor('ffn_norm', [8], 700),
      f32Tensor('ffn_gate', [3, 8], 800),
      f32Tensor('ffn_up', [3, 8], 900),
      f32Tensor('ffn_down', [8, 3], 1000),
    ].map((tensor) => ({ ...tensor, name: `blk.${number}.${tensor.name}.weight` }));
  return {
    metadata: {
      'general.architecture': 'llama',
      'llama.block_count': layers,
      'llama.context_length': 64,
      'llama.embedding_length': 8,
      'llama.feed_forward_length': 3,
      'llama.attention.head_count': 2,
      'llama.attention.layer_norm_rms_epsilon': 0.00001,
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'smollm',
      'tokenizer.ggml.tokens': ['<|end|>', 'a', 'b', 'ab', 'Ġ', '<tool>'],
      'tokenizer.ggml.token_type': [3, 1, 1, 1, 1, 4],
      'tokenizer.ggml.merges': ['a b'],
      'tokenizer.ggml.bos_token_id': 0,
      'tokenizer.ggml.eos_token_id': 0,
    },
    tensors: [
      f32Tensor('token_embd.weight', [6, 8], 0),
      f32Tensor('output_norm.weight', [8], 100),
      ...Array.from({ length: layers }, (_, number) => layer(number)).flat(),
    ],
  };
}

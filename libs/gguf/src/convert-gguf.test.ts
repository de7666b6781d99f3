// Tests models in GGUF files: what their folders hold, and what is refused. convert-gguf.long.test.ts holds values and tokens against those
// of Python's packages, and native-engine/exported-models.long.test.ts opens the folders of our own exports.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { folderOfGguf, ggufCache, GgufError } from '#gguf';
import { UserFileError } from '#files';
import { loadTokenizer } from '../../model-files/src/load-tokenizer.js';
import { f32Tensor, ggufBytes, quantized, smallLlama, u64, type WrittenGguf } from './testing/write-gguf.js';

let folder: string;
let env: NodeJS.ProcessEnv;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gguf-'));
  env = { XDG_CACHE_HOME: join(folder, 'cache') };
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(bytes: Buffer, name = 'model.gguf'): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}
/** The entries of the cache beside the digests of files. */
const models = (): string[] => readdirSync(ggufCache(env)).filter((name) => name !== 'digests');
const converted = (gguf: WrittenGguf): Promise<string> => folderOfGguf(write(ggufBytes(gguf)), { env });
const json = (path: string, name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(path, name), 'utf8')) as Record<string, unknown>;

const tokenizerOf = (path: string): ReturnType<typeof loadTokenizer> =>
  loadTokenizer({
    tokenizerJson: readFileSync(join(path, 'tokenizer.json'), 'utf8'),
    configJson: readFileSync(join(path, 'tokenizer_config.json'), 'utf8'),
  });

/** The values and the types of a folder's tensors. */
function tensorsOf(path: string): Map<string, { dtype: string; shape: number[]; values: number[] }> {
  const bytes = readFileSync(join(path, 'model.safetensors'));
  const start = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets?: [number, number] }
  >;
  return new Map(
    Object.entries(header).flatMap(([name, { dtype, shape, data_offsets: [from, to] = [0, 0] }]) => {
      if (name === '__metadata__') return [];
      const part = Uint8Array.from(bytes.subarray(start + from, start + to)).buffer;
      return [[name, { dtype, shape, values: [...(dtype === 'F32' ? new Float32Array(part) : new Uint16Array(part))] }]];
    }),
  );
}

test('a llama becomes a folder: rows of q and k go back to halves, and the tokenizer cuts texts as the metadata say', async () => {
  const path = await converted(smallLlama());
  expect(json(path, 'config.json')).toMatchObject({
    architectures: ['LlamaForCausalLM'],
    hidden_size: 8,
    num_key_value_heads: 2,
    head_dim: 4,
    vocab_size: 6,
    rms_norm_eps: 0.00001, // not the f32 nearest to it
    tie_word_embeddings: true,
    eos_token_id: 0,
  });
  const tensors = tensorsOf(path);
  expect(tensors.size).toBe(11);
  const rows = [0, 2, 1, 3, 4, 6, 5, 7].map((row) => 300 + 8 * row); // of two heads, each with two pairs
  const { shape, values } = tensors.get('model.layers.0.self_attn.q_proj.weight')!;
  expect([shape, values.filter((_, i) => i % 8 === 0)]).toEqual([[8, 8], rows]);
  expect(tensors.get('model.layers.0.self_attn.v_proj.weight')!.values.slice(0, 9)).toEqual([500, 501, 502, 503, 504, 505, 506, 507, 508]);
  expect(tokenizerOf(path).encode('ab ba<tool><|end|>').ids).toEqual([3, 4, 2, 1, 5, 0]);
  expect(models()).toHaveLength(1);
  expect(await folderOfGguf(write(ggufBytes(smallLlama()), 'other-name.gguf'), { env })).toBe(path); // by the digest
});

test('tensors keep F32, F16 and BF16, and all other types become F32, whose values they are', async () => {
  const gguf = smallLlama();
  const wide = (tensor: WrittenGguf['tensors'][number]): void => {
    gguf.tensors[gguf.tensors.findIndex(({ name }) => name === tensor.name)] = tensor;
  };
  gguf.metadata['llama.feed_forward_length'] = 256;
  wide({ name: 'blk.0.ffn_up.weight', shape: [256, 8], type: 1, bytes: Buffer.alloc(4096, 7) });
  wide({ name: 'blk.0.ffn_gate.weight', shape: [256, 8], type: 30, bytes: Buffer.alloc(4096, 9) });
  wide(quantized('blk.0.ffn_down.weight', [8, 256], 'Q4_K'));
  const path = await converted(gguf);
  const types = ['up', 'gate', 'down'].map((one) => tensorsOf(path).get(`model.layers.0.mlp.${one}_proj.weight`)!);
  expect(types.map(({ dtype }) => dtype)).toEqual(['F16', 'BF16', 'F32']);
  expect(types[0]!.values.every((bits) => bits === 0x0707)).toBe(true);
});

test("a llama with biases is a Qwen2, whose biases get their order back, and SentencePiece's scores become merges", async () => {
  const gguf = smallLlama();
  for (const one of ['q', 'k', 'v']) gguf.tensors.push(f32Tensor(`blk.0.attn_${one}.bias`, [8], 10));
  Object.assign(gguf.metadata, {
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': ['<unk>', '<s>', '</s>', '▁', 'a', '▁a'],
    'tokenizer.ggml.scores': [0.5, 0.5, 0.5, -2.5, -3.5, -1.5],
    'tokenizer.ggml.token_type': [2, 3, 3, 1, 1, 1],
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.eos_token_id': 2,
  });
  const path = await converted(gguf);
  expect(json(path, 'config.json')).toMatchObject({ architectures: ['Qwen2ForCausalLM'] });
  expect(tensorsOf(path).get('model.layers.0.self_attn.k_proj.bias')!.values).toEqual([10, 12, 11, 13, 14, 16, 15, 17]);
  expect(tokenizerOf(path).encode('a a').ids).toEqual([1, 5, 5]); // with the token of beginnings, as without a flag in llama.cpp
});

test("the rule of Llama 3.1's rotary embedding is found by its divisors, and other divisors are refused", async () => {
  const gguf = smallLlama();
  gguf.metadata['llama.rope.freq_base'] = 100_000_000;
  const divisors = (...values: number[]): WrittenGguf => ({
    ...gguf,
    tensors: [...gguf.tensors, { name: 'rope_freqs.weight', shape: [2], type: 0, bytes: Buffer.from(Float32Array.from(values).buffer) }],
  });
  const rule = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
  expect(json(await converted(divisors(1, 8)), 'config.json')).toMatchObject({ rope_theta: 100_000_000, rope_scaling: rule });
  await expect(converted(divisors(2, 8))).rejects.toMatchObject({
    code: 'GGUF_UNSUPPORTED',
    message: expect.stringContaining('do not follow from the rule of Llama 3.1') as string,
  });
});

test.each([
  ['of a type', (one: WrittenGguf) => (one.tensors[5]!.type = 11), 'attn_v.weight" has the type Q3_K; allowed are F32, F16, Q4_0, Q4_1'],
  ['of an architecture', (one: WrittenGguf) => (one.metadata['general.architecture'] = 'gpt2'), '"gpt2"; allowed are llama, deci, qwen2'],
  [
    'with a key that may change the computation',
    (one: WrittenGguf) => (one.metadata['llama.expert_count'] = 8),
    '"llama.expert_count" is "8"',
  ],
  [
    'with rotary embedding of a part of a head',
    (one: WrittenGguf) => (one.metadata['llama.rope.dimension_count'] = 2),
    'dimension_count is 2',
  ],
  ['with a tensor more', (one: WrittenGguf) => one.tensors.push(f32Tensor('blk.1.attn_q.weight', [8, 8], 0)), 'has no place'],
  ['with an unknown rule of words', (one: WrittenGguf) => (one.metadata['tokenizer.ggml.pre'] = 'gpt-4o'), '"gpt-4o"; allowed are gpt-2'],
  ['with another tokenizer', (one: WrittenGguf) => (one.metadata['tokenizer.ggml.model'] = 't5'), '"t5"; allowed are gpt2'],
  ['in parts', (one: WrittenGguf) => (one.metadata['split.count'] = 3), 'one of 3 parts'],
])('a file %s is refused by name, and nothing stays in the cache', async (_, change, message) => {
  const gguf = smallLlama();
  change(gguf);
  const error = await converted(gguf).catch((one: unknown) => one);
  expect(error).toBeInstanceOf(GgufError);
  expect(error).toMatchObject({ code: 'GGUF_UNSUPPORTED', message: expect.stringContaining(message) as string });
  expect(existsSync(ggufCache(env)) ? models() : []).toEqual([]);
});

const header = (tensors: bigint, keys: bigint, rest = Buffer.alloc(64)): Buffer =>
  Buffer.concat([Buffer.from('GGUF\x03\0\0\0', 'latin1'), u64(tensors), u64(keys), rest]);
const HUGE = 2n ** 63n;

test.each([
  ['no GGUF file', Buffer.from('{"a": 1}'), 'does not begin with GGUF'],
  ['empty', Buffer.alloc(0), 'does not begin with GGUF'],
  ['cut off in its first number', Buffer.from('GGUF\x03', 'latin1'), 'ends within 4 bytes'],
  ['of 2^63 tensors', header(HUGE, 0n), 'counts 9223372036854776000 tensors'],
  ['of 2^63 keys', header(0n, HUGE), 'counts 9223372036854776000 keys'],
  ['with a key of 2^63 bytes', header(0n, 1n, Buffer.concat([u64(HUGE), Buffer.alloc(64)])), 'ends within 9223372036854776000 bytes'],
  [
    'with an array of 2^40 texts',
    header(0n, 1n, Buffer.concat([u64(0), Buffer.from([9, 0, 0, 0, 8, 0, 0, 0]), u64(2n ** 40n), Buffer.alloc(64)])),
    'counts 1099511627776 elements',
  ],
  [
    'with an array of arrays',
    header(0n, 1n, Buffer.concat([u64(0), Buffer.from([9, 0, 0, 0, 9, 0, 0, 0]), Buffer.alloc(64)])),
    'array of arrays',
  ],
  [
    'with a value of an unknown type',
    header(0n, 1n, Buffer.concat([u64(0), Buffer.from([77, 0, 0, 0]), Buffer.alloc(64)])),
    'unknown type 77',
  ],
  [
    'with a key twice',
    header(0n, 2n, Buffer.concat([0, 1].map(() => Buffer.concat([u64(1), Buffer.from('a\x07\0\0\0\x01', 'latin1')])))),
    'has the key "a" twice',
  ],
])('a file that is %s is refused without taking memory', async (_, bytes, message) => {
  await expect(folderOfGguf(write(bytes), { env })).rejects.toMatchObject({
    code: 'GGUF_INVALID',
    message: expect.stringContaining(message) as string,
  });
});

test.each([
  ['an alignment of 48', (one: WrittenGguf) => (one.metadata['general.alignment'] = 48), 'general.alignment is 48'],
  ['an alignment of 0', (one: WrittenGguf) => (one.metadata['general.alignment'] = 0), 'general.alignment is 0'],
  ['another alignment than its tensors', (one: WrittenGguf) => (one.metadata['general.alignment'] = 4096), 'it is cut off'],
  ['a tensor that leaves the file', (one: WrittenGguf) => (one.tensors[10]!.shape = [8, 3_000]), 'it is cut off'],
  ['a tensor over another', (one: WrittenGguf) => (one.tensors[0]!.shape = [7, 8]), 'begins at'],
  ['a tensor as wide as no memory', (one: WrittenGguf) => (one.tensors[3]!.shape = [2 ** 40, 8]), 'with the shape'],
  ['a row of half a block', (one: WrittenGguf) => (one.tensors[3]!.type = 8), 'with the shape'],
  ['a tensor twice', (one: WrittenGguf) => (one.tensors[4]!.name = 'blk.0.attn_q.weight'), 'is there twice'],
  ['a tensor less', (one: WrittenGguf) => one.tensors.pop(), 'ffn_down.weight is missing'],
  ['a million layers', (one: WrittenGguf) => (one.metadata['llama.block_count'] = 1_000_000), 'block_count is 1000000'],
  ['no heads', (one: WrittenGguf) => delete one.metadata['llama.attention.head_count'], 'head_count is missing'],
  ['a text in the place of a number', (one: WrittenGguf) => (one.metadata['llama.embedding_length'] = '8'), 'a whole number is allowed'],
  ['more tokens than embeddings', (one: WrittenGguf) => (one.tensors[0] = f32Tensor('token_embd.weight', [5, 8], 0)), '6 tokens'],
  ['a token twice', (one: WrittenGguf) => (one.metadata['tokenizer.ggml.tokens'] = ['a', 'a', 'b', 'ab', 'c', 'd']), '"a" has two ids'],
  ['a merge of no tokens', (one: WrittenGguf) => (one.metadata['tokenizer.ggml.merges'] = ['b a']), 'has "b a"'],
  ['an id beyond its tokens', (one: WrittenGguf) => (one.metadata['tokenizer.ggml.bos_token_id'] = 6), 'bos_token_id is 6'],
])('a file with %s is refused by name', async (_, change, message) => {
  const gguf = smallLlama();
  change(gguf);
  await expect(converted(gguf)).rejects.toMatchObject({ code: 'GGUF_INVALID', message: expect.stringContaining(message) as string });
});

test('a file is read in full once, and a changed one is never taken for the old one, whatever times it has', async () => {
  const path = write(ggufBytes(smallLlama()));
  const read: number[] = [];
  const use = (later: number): Promise<string> => {
    read.push(0);
    const onProgress = (_: number, what: string): void => void (what === 'reading' && (read[read.length - 1]! += 1));
    return folderOfGguf(path, { env, onProgress, now: () => Date.now() + later });
  };
  const first = await use(-60_000); // it has changed just now, so its digest is not kept
  expect([await use(60_000), await use(60_000)]).toEqual([first, first]);
  expect(read).toEqual([1, 1, 0]);
  const { atimeMs, mtimeMs } = statSync(path);
  const other = smallLlama();
  other.tensors.at(-1)!.bytes.writeFloatLE(7);
  const descriptor = openSync(path, 'r+'); // the same inode and the same size
  writeSync(descriptor, ggufBytes(other));
  closeSync(descriptor);
  utimesSync(path, atimeMs / 1e3, mtimeMs / 1e3);
  const second = await use(60_000);
  expect(second).not.toBe(first);
  expect(read.at(-1)).toBe(1);
});

test('a file that is cut off anywhere is refused', async () => {
  const bytes = ggufBytes(smallLlama());
  const end = bytes.length - 20; // what fills up the last tensor may be missing, as in files of llama.cpp
  for (let size = 0; size < end; size += 97) {
    const path = write(bytes.subarray(0, size), 'cut.gguf');
    await expect(folderOfGguf(path, { env })).rejects.toMatchObject({ code: 'GGUF_INVALID' });
  }
  await expect(folderOfGguf(join(folder, 'nothing.gguf'), { env })).rejects.toBeInstanceOf(UserFileError);
  mkdirSync(join(folder, 'folder.gguf'));
  await expect(folderOfGguf(join(folder, 'folder.gguf'), { env })).rejects.toMatchObject({ code: 'FILE_NOT_REGULAR' });
});

test('a process that is killed leaves nothing that is taken for a model, and the next one removes it', async () => {
  const gguf = smallLlama();
  const large = 1 << 17;
  gguf.metadata['llama.feed_forward_length'] = large;
  for (const tensor of gguf.tensors.slice(8)) {
    tensor.shape = tensor.shape.map((width) => (width === 3 ? large : width));
    tensor.bytes = Buffer.alloc(4 * 8 * large);
  }
  const path = write(ggufBytes(gguf));
  const program = `import { folderOfGguf } from '#gguf';
    const onProgress = (share, what) => what === 'converting' && share > 0.3 && process.kill(process.pid, 'SIGKILL');
    await folderOfGguf(${JSON.stringify(path)}, { onProgress });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { env: { ...process.env, ...env }, stdio: 'inherit' });
  expect(await once(child, 'close')).toEqual([null, 'SIGKILL']);
  const [left, ...others] = models();
  expect([left!.endsWith('.unfinished'), others]).toEqual([true, []]);
  const made = await folderOfGguf(path, { env });
  expect(models()).toEqual([made.split('/').at(-1)]);
  expect(readdirSync(made).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']);
});

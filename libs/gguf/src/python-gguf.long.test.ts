// Holds values and tokens of converted GGUF files against Python's packages gguf and tokenizers. ESPALIER_PYTHON names a Python that has
// them (python3 otherwise).
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { folderOfGguf } from '#gguf';
import { TENSOR_TYPES } from './gguf-types.js';
import { ggufBytes, quantized, smallLlama } from './testing/write-gguf.js';

const PYTHON = process.env['ESPALIER_PYTHON'] ?? 'python3';
const isThere = spawnSync(PYTHON, ['-c', 'import gguf, tokenizers']).status === 0;
const shared = fileURLToPath(new URL('../../../../../shared/', import.meta.url));
const smollm = join(shared, 'models/smollm2-135m');

/** Prints how many tensors there are, and those whose values the folder does not have bit by bit. */
const COMPARE = `
import json, struct, sys
import numpy as np
from gguf import GGUFReader, dequantize

file, folder = sys.argv[1:]
NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
data = np.memmap(folder + "/model.safetensors", dtype=np.uint8, mode="r")
start = 8 + struct.unpack("<Q", data[:8])[0]
header = json.loads(bytes(data[8:start]))
config = json.load(open(folder + "/config.json"))

def ours(name):
    (first, end), dtype = header[name]["data_offsets"], header[name]["dtype"]
    values = data[start + first:start + end].view(TYPES[dtype])
    values = (values.astype("<u4") << 16).view("<f4") if dtype == "BF16" else values.astype("<f4")
    return values.reshape(header[name]["shape"])

reader, differing = GGUFReader(file), []
for tensor in reader.tensors:
    values = dequantize(tensor.data, tensor.tensor_type).astype("<f4").reshape([int(n) for n in reversed(tensor.shape)])
    *layer, part, kind = tensor.name.split(".")
    name = ".".join((["model.layers", layer[1]] if layer else []) + [NAMES[part], kind])
    if part in ("attn_q", "attn_k"):
        heads = config["num_attention_heads" if part == "attn_q" else "num_key_value_heads"]
        values = values.reshape(heads, -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
    if not np.array_equal(values.view("<u4"), ours(name).view("<u4")):
        differing.append(tensor.name)
print(json.dumps({"tensors": len(reader.tensors), "differing": differing}))
`;

/** Prints how many tokens all rows of the tasks have, by the tokenizer that the script beside the model makes, and the rows that differ. */
const TOKENS = `
import glob, importlib.util, json, sys
from tokenizers import Tokenizer

shared, folder = sys.argv[1:]
spec = importlib.util.spec_from_file_location("script", shared + "models/smollm2-135m/to_hugging_face.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
script.tensor = lambda *place: None
theirs = Tokenizer.from_str(json.dumps(script.tokenizer(script.read_gguf(script.SOURCE)[0])))
ours, tokens, differing = Tokenizer.from_file(folder + "/tokenizer.json"), 0, 0
lines = [line for path in sorted(glob.glob(shared + "data/eval/**/*.jsonl", recursive=True)) for line in open(path)]
for a, b in zip(ours.encode_batch(lines), theirs.encode_batch(lines)):
    tokens += len(b.ids)
    differing += a.ids != b.ids or ours.decode(a.ids) != theirs.decode(b.ids)
print(json.dumps({"tokens": tokens, "differing": differing}))
`;

(isThere ? describe : describe.skip)("Python's packages", () => {
  let folder: string;
  let env: NodeJS.ProcessEnv;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'gguf-'));
    env = { XDG_CACHE_HOME: folder };
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const ask = async (program: string, ...args: string[]): Promise<unknown> =>
    JSON.parse((await promisify(execFile)(PYTHON, ['-c', program, ...args])).stdout);

  test('find the same values in blocks of each type', async () => {
    const gguf = smallLlama(2);
    Object.assign(gguf.metadata, { 'llama.embedding_length': 256, 'llama.feed_forward_length': 256 });
    const types = Object.values(TENSOR_TYPES).map(({ name }) => name);
    let matrices = 0;
    gguf.tensors = gguf.tensors.map((tensor) => {
      const shape = tensor.shape.map((width) => (width === 6 ? width : 256));
      if (shape.length === 1) return { ...tensor, shape, bytes: Buffer.alloc(1024, tensor.bytes) };
      return quantized(tensor.name, shape, types[matrices++ % types.length]!);
    });
    expect(matrices).toBeGreaterThan(types.length);
    const path = join(folder, 'types.gguf');
    writeFileSync(path, ggufBytes(gguf));
    expect(await ask(COMPARE, path, await folderOfGguf(path, { env }))).toEqual({ tensors: gguf.tensors.length, differing: [] });
  });

  test('find the same values in SmolLM2, and the same tokens in all rows of the tasks', async () => {
    const file = join(smollm, 'SmolLM2-135M-Instruct.Q4_1.gguf');
    const made = await folderOfGguf(file, { env });
    expect(await ask(COMPARE, file, made)).toEqual({ tensors: 272, differing: [] });
    const { tokens, differing } = (await ask(TOKENS, shared, made)) as { tokens: number; differing: number };
    expect(differing).toBe(0);
    expect(tokens).toBeGreaterThan(100_000);
  });
});

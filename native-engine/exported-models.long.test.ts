// Exports as other programs read them: a GGUF reader written here from the format's description, llama.cpp where it is
// installed (npm run loader:llama-cpp), PyTorch where a Python has it. Where a program is missing, its tests are skipped and say so.
import { Tokenizer } from '@huggingface/tokenizers';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { folderOfGguf } from '#gguf';
import { evaluateModel, Session, type ExportOptions } from './index.js';
import { exportSession, prunedSession, sessionSettings, smallKinds, writeSmallModel, type SmallKind } from './testing.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const tinyModel = join(root, 'testdata/models/gqa-random-tiny'); // tied, grouped queries, llama3's rope scaling
const factbookModel = join(root, 'examples/models/factbook-llama-3m');
const hasLlamaCpp = existsSync(join(root, 'loaders/llama-cpp/node_modules/node-llama-cpp'));
const python = ['python3', '/usr/bin/python3'].find((one) => spawnSync(one, ['-c', 'import torch']).status === 0);
const withLlamaCpp = hasLlamaCpp ? test : test.skip;
const withPyTorch = python === undefined ? test.skip : test;
const WINDOW = 64;
const ids = Uint32Array.from({ length: 256 }, (_, i) => (i * i * 31 + 7 * i + 1) % 2048);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'espalier-exported-'));
  if (!hasLlamaCpp) process.stderr.write('skipped: llama.cpp is not installed (npm run loader:llama-cpp)\n');
  if (python === undefined) process.stderr.write('skipped: no Python with PyTorch\n');
});
afterAll(async () => {
  pyTorch?.end();
  llamaCpp?.end();
  for (const { session } of await Promise.all(students.values())) await session.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Student {
  session: Session;
  /** The likelihood of the text that the engine finds. Other programs that load the export have to find it too. */
  expected: number;
}
const students = new Map<string, Promise<Student>>();

/** A masked student whose state is pruned hard and unevenly. Exports leave a session as it is, so that tests share one of each model. */
function studentOf(model: string, write: () => string = () => model): Promise<Student> {
  const student = students.get(model) ?? pruned(write());
  students.set(model, student);
  return student;
}

async function pruned(modelFolder: string): Promise<Student> {
  const session = await prunedSession(modelFolder, ids);
  return { session, expected: (await session.evaluate({ ids, window: WINDOW })).negativeLogLikelihood };
}

function ask(command: string, args: string[], request: object): Record<string, unknown> {
  const { stdout, stderr, status } = spawnSync(command, args, { input: JSON.stringify(request), encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ended with ${status}: ${stderr.slice(-2000)}`);
  return JSON.parse(stdout) as Record<string, unknown>;
}
/** Loads PyTorch once. Each question is answered by a fork, which runs the program as if it had been started for it. */
const FORKING = `
import io, json, os, runpy, sys
import torch

program = sys.argv[1]
for line in iter(sys.stdin.readline, ""):
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        try:
            sys.argv = [program, asked["folder"]]
            sys.stdin = io.StringIO(json.dumps(asked["request"]) + "\\n")
            runpy.run_path(program, run_name="__main__")
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if status != 0:
        print(json.dumps({"failed": status}), flush=True)
`;
/** Loads llama.cpp once, which takes a second of a processor, and answers as its program does. */
const ASKING = `
import { createInterface } from 'node:readline';
import { answer, openLlama } from ${JSON.stringify(join(root, 'loaders/llama-cpp/llama.mjs'))};

const llama = await openLlama(1);
for await (const line of createInterface({ input: process.stdin })) {
  const { file, request } = JSON.parse(line);
  console.log(JSON.stringify(await answer(llama, file, request)));
}
await llama.dispose();
`;

/** A process that answers each line with a line. */
class AnsweringProcess {
  private readonly child: ChildProcess;
  private readonly answers: AsyncIterator<string>;

  constructor(command: string, args: string[]) {
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.answers = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  async ask(question: object): Promise<Record<string, unknown>> {
    this.child.stdin!.write(`${JSON.stringify(question)}\n`);
    const { value, done } = await this.answers.next();
    if (done) throw new Error(`the process ended without an answer about ${JSON.stringify(question).slice(0, 200)}`);
    return JSON.parse(value) as Record<string, unknown>;
  }

  end(): void {
    this.child.stdin!.end();
  }
}
let pyTorch: AnsweringProcess | undefined;
let llamaCpp: AnsweringProcess | undefined;

function askPyTorch(exported: string): Promise<Record<string, unknown>> {
  pyTorch ??= new AnsweringProcess(python!, ['-c', FORKING, join(root, 'loaders/torch/evaluate.py')]);
  return pyTorch.ask({ folder: exported, request: { window: WINDOW, ids: [...ids], threads: 1 } });
}

function askLlamaCpp(file: string, request: object): Promise<Record<string, unknown>> {
  if (llamaCpp === undefined) {
    const program = join(folder, 'asking.mjs');
    writeFileSync(program, ASKING);
    llamaCpp = new AnsweringProcess(process.execPath, [program]);
  }
  return llamaCpp.ask({ file, request });
}

/** Values and bytes of a block of each type: f32, f16, bf16, q8_0, q5_0, q5_1, q4_k, q5_k, q6_k. */
const blocks: Record<number, [number, number]> = {
  0: [1, 4],
  1: [1, 2],
  30: [1, 2],
  8: [32, 34],
  6: [32, 22],
  7: [32, 24],
  12: [256, 144],
  13: [256, 176],
  14: [256, 210],
};

interface Gguf {
  metadata: Map<string, unknown>;
  tensors: Map<string, { shape: number[]; type: number; bytes: Buffer }>;
}

function readGguf(path: string): Gguf {
  const file = readFileSync(path);
  let at = 0;
  const advance = (size: number): number => (at += size) - size;
  const u32 = (): number => file.readUInt32LE(advance(4));
  const u64 = (): number => Number(file.readBigUInt64LE(advance(8)));
  const text = (): string => {
    const size = u64();
    return file.toString('utf8', at, (at += size));
  };
  const value = (type: number): unknown => {
    if (type === 4) return u32();
    if (type === 5) return file.readInt32LE(advance(4));
    if (type === 6) return file.readFloatLE(advance(4));
    if (type === 7) return file[advance(1)] === 1;
    if (type === 8) return text();
    if (type !== 9) throw new Error(`type ${type}`);
    const of = u32();
    return Array.from({ length: u64() }, () => value(of));
  };
  expect(file.toString('latin1', 0, advance(4) + 4)).toBe('GGUF');
  expect(u32()).toBe(3);
  const tensorCount = u64();
  const metadata = new Map(Array.from({ length: u64() }, () => [text(), value(u32())] as const));
  const infos = Array.from({ length: tensorCount }, () => {
    const name = text();
    const shape = Array.from({ length: u32() }, u64).reverse();
    return { name, shape, type: u32(), offset: u64() };
  });
  const data = Math.ceil(at / 32) * 32;
  const tensors = new Map<string, { shape: number[]; type: number; bytes: Buffer }>();
  let end = 0;
  for (const { name, shape, type, offset } of infos) {
    expect(offset).toBe(Math.ceil(end / 32) * 32); // one after the other, aligned
    const values = shape.reduce((product, size) => product * size, 1);
    const [block, blockBytes] = blocks[type]!;
    const size = (values / block) * blockBytes;
    end = offset + size;
    tensors.set(name, { shape, type, bytes: file.subarray(data + offset, data + end) });
  }
  expect(data + Math.ceil(end / 32) * 32).toBe(file.byteLength);
  return { metadata, tensors };
}

test('a GGUF file says what it is, and its tensors have the shapes that it says', async () => {
  const { session } = await studentOf(tinyModel);
  const out = join(folder, 'gguf');
  const made = await exportSession(session, { container: 'gguf', form: 'compacted', dtype: 'f32', outFolder: out, modelCard: '# card' });
  expect(made.files.map(({ name }) => name).sort()).toEqual(['README.md', 'model.gguf']);
  const { metadata, tensors } = readGguf(join(out, 'model.gguf'));
  expect(metadata.get('general.architecture')).toBe('deci');
  expect(metadata.get('espalier.model_card')).toBe('# card');
  expect(metadata.get('deci.block_count')).toBe(made.layers.length);
  expect(metadata.get('deci.attention.head_count')).toEqual(made.layers.map(({ heads }) => Number(heads)));
  expect(metadata.get('deci.attention.head_count_kv')).toEqual(made.layers.map(({ kvHeads }) => Number(kvHeads)));
  expect(metadata.get('deci.feed_forward_length')).toEqual(made.layers.map(({ intermediate }) => Number(intermediate)));
  expect(metadata.get('deci.attention.key_length')).toBe(8);
  expect(metadata.get('tokenizer.ggml.pre')).toBe('gpt-2');
  expect((metadata.get('tokenizer.ggml.tokens') as string[])[1]).toBe('<s>');
  expect((metadata.get('tokenizer.ggml.token_type') as number[]).slice(0, 4)).toEqual([3, 3, 3, 1]);
  expect(metadata.get('tokenizer.ggml.add_bos_token')).toBe(true);
  expect(tensors.has('output.weight')).toBe(false); // tied stays tied
  expect(tensors.get('rope_freqs.weight')!.shape).toEqual([4]);
  const hiddenSize = Number(made.hiddenSize);
  made.layers.forEach((layer, l) => {
    const [heads, kvHeads, intermediate] = [Number(layer.heads), Number(layer.kvHeads), Number(layer.intermediate)];
    const shape = (name: string): number[] | undefined => tensors.get(`blk.${l}.${name}.weight`)?.shape;
    expect(shape('attn_q')).toEqual(heads > 0 ? [heads * 8, hiddenSize] : undefined);
    expect(shape('attn_k')).toEqual(heads > 0 ? [kvHeads * 8, hiddenSize] : undefined);
    expect(shape('attn_norm')).toEqual(heads > 0 ? [hiddenSize] : undefined);
    expect(shape('ffn_down')).toEqual([hiddenSize, intermediate]);
  });
});

const kinds: [string, Pick<ExportOptions, 'container' | 'form'>][] = [
  ['compacted', { container: 'gguf', form: 'compacted' }],
  ['padded', { container: 'gguf', form: 'padded' }],
  ['masked', { container: 'gguf', form: 'masked' }],
];
withLlamaCpp.each(kinds)('llama.cpp computes from GGUF, %s, what the masked student computes', async (name, kind) => {
  for (const model of [tinyModel, factbookModel]) {
    const { session, expected } = await studentOf(model);
    const outFolder = join(folder, `${model === tinyModel ? 'tiny' : 'factbook'}-${name}`);
    await exportSession(session, { ...kind, dtype: 'f32', outFolder });
    const answer = await askLlamaCpp(join(outFolder, 'model.gguf'), { window: WINDOW, ids: [...ids] });
    expect(Math.abs((answer['negativeLogLikelihood'] as number) - expected)).toBeLessThan(1e-5);
  }
});

withLlamaCpp("llama.cpp's own quantizer makes a smaller model, which it reads, and which computes nearly the same", async () => {
  const { session, expected } = await studentOf(factbookModel);
  const outFolder = join(folder, 'quantized');
  await exportSession(session, { container: 'gguf', form: 'compacted', multipleOf: 256, dtype: 'bf16', outFolder });
  const libraries = join(root, 'loaders/llama-cpp/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64');
  const library = readdirSync(libraries).find((name) => /^libllama\.(.*\.)?so$/.test(name))!;
  const [from, to] = [join(outFolder, 'model.gguf'), join(folder, 'q4_k_m.gguf')];
  const quantize = (source: string) =>
    spawnSync(join(root, 'native-engine/build/llama_quantize'), [join(libraries, library), source, to, '15', '1'], { encoding: 'utf8' });
  expect(quantize(join(folder, 'nothing.gguf')).status).not.toBe(0);
  expect(quantize(from).status).toBe(0);
  const { metadata, tensors } = readGguf(to);
  expect(metadata.get('general.file_type')).toBe(15);
  expect([12, 14]).toContain(tensors.get('blk.0.ffn_down.weight')!.type); // its rows are whole blocks
  expect(statSync(to).size).toBeLessThan(statSync(from).size);
  const { negativeLogLikelihood } = (await askLlamaCpp(to, { window: WINDOW, ids: [...ids] })) as { negativeLogLikelihood: number };
  expect(Math.abs(negativeLogLikelihood - expected)).toBeLessThan(0.2);
  expect(negativeLogLikelihood).not.toBe(expected);
});

withPyTorch.each(['padded', 'compacted', 'masked'] as const)(
  'PyTorch computes from a %s folder what the masked student computes',
  async (form) => {
    for (const model of [tinyModel, factbookModel]) {
      const { session, expected } = await studentOf(model);
      const outFolder = join(folder, `${model === tinyModel ? 'tiny' : 'factbook'}-torch-${form}`);
      await exportSession(session, { form, dtype: 'f32', outFolder });
      const answer = await askPyTorch(outFolder);
      expect(Math.abs((answer['negativeLogLikelihood'] as number) - expected)).toBeLessThan(1e-5);
    }
  },
);

/** Whether llama.cpp's architecture for it has one width for all layers. */
const ALIKE = ['Qwen3ForCausalLM', 'SmolLM3ForCausalLM', 'GemmaForCausalLM', 'Gemma2ForCausalLM', 'Gemma3ForCausalLM', 'Olmo2ForCausalLM'];
const alike = (kind: SmallKind): boolean => ALIKE.includes(smallKinds[kind].architectures[0]);
const small = Object.keys(smallKinds) as SmallKind[];

async function exportSmall(kind: SmallKind, kinds: (Partial<ExportOptions> & Pick<ExportOptions, 'form'>)[]): Promise<[string[], number]> {
  const { session, expected } = await studentOf(kind, () => writeSmallModel(join(folder, kind), kind));
  const folders: string[] = [];
  for (const one of kinds) {
    const outFolder = join(mkdtempSync(join(folder, 'small-')), 'export');
    const made = await exportSession(session, { ...one, dtype: 'f32', outFolder });
    expect(made.hiddenSize).toBeLessThanOrEqual(48);
    folders.push(outFolder);
  }
  return [folders, expected];
}

withLlamaCpp.each(small)('llama.cpp computes from a %s what the masked student computes', async (kind) => {
  const [folders, expected] = await exportSmall(
    kind,
    (alike(kind) ? (['padded'] as const) : (['compacted', 'padded'] as const)).map((form) => ({ container: 'gguf', form })),
  );
  // llama.cpp looks GELU up in a table of F16.
  const bound = kind.startsWith('gemma') ? 1e-3 : 1e-5;
  for (const outFolder of folders) {
    const answer = await askLlamaCpp(join(outFolder, 'model.gguf'), { window: WINDOW, ids: [...ids] });
    expect(Math.abs((answer['negativeLogLikelihood'] as number) - expected)).toBeLessThan(bound);
  }
});

test.each(small)('a GGUF export of a %s is a model again, which computes what the masked student computes', async (kind) => {
  const forms = alike(kind) ? (['padded'] as const) : (['compacted', 'padded'] as const);
  const [folders, expected] = await exportSmall(
    kind,
    forms.map((form) => ({ container: 'gguf', form })),
  );
  for (const outFolder of folders) {
    const modelFolder = await folderOfGguf(join(outFolder, 'model.gguf'), { env: { XDG_CACHE_HOME: folder } });
    const { negativeLogLikelihood } = await evaluateModel(modelFolder, { ids, window: WINDOW });
    expect(Math.abs(negativeLogLikelihood - expected)).toBeLessThan(1e-5);
  }
});

withPyTorch.each(small)('PyTorch computes from folders of a %s what the masked student computes', async (kind) => {
  const [folders, expected] = await exportSmall(kind, [{ form: 'padded' }, { form: 'compacted' }]);
  for (const outFolder of folders) {
    const answer = await askPyTorch(outFolder);
    expect(Math.abs((answer['negativeLogLikelihood'] as number) - expected)).toBeLessThan(1e-5);
  }
});

withLlamaCpp('llama.cpp computes with a vocabulary as large as Qwen has', async () => {
  const model = writeSmallModel(join(folder, 'many tokens'), 'qwen3', 151_936);
  const session = await Session.open({ modelFolder: model, settings: sessionSettings({ batchSize: 1, sequenceLength: 32 }) });
  await session.initialise(1n); // untrained: this test is about the size, and other tests have masks
  const outFolder = join(folder, 'many tokens, exported');
  await exportSession(session, { container: 'gguf', form: 'padded', dtype: 'f32', outFolder });
  const file = join(outFolder, 'model.gguf');
  const window = 32; // one model only: llama.cpp's binding sorts all logits of each token, which takes long
  const oneWindow = ids.subarray(0, window);
  const { negativeLogLikelihood } = await session.evaluate({ ids: oneWindow, window });
  // All logits of a window at once would take more memory than the script has.
  const request = { window, ids: [...oneWindow], threads: 1 };
  const answer = ask(process.execPath, ['--max-old-space-size=180', join(root, 'loaders/llama-cpp/evaluate.mjs'), file], request);
  expect(Math.abs((answer['negativeLogLikelihood'] as number) - negativeLogLikelihood)).toBeLessThan(2e-5);
  expect(answer['predictions']).toBe(window - 1);
  await session.close();
});

/** Writes NaN over the last weight. */
function breakWeights(file: string): void {
  const bytes = readFileSync(file);
  bytes.writeUInt32LE(0x7fc00000, bytes.byteLength - 4);
  writeFileSync(file, bytes);
}

withLlamaCpp('a broken file makes llama.cpp compute NaN, which is reported', async () => {
  const [[gguf]] = await exportSmall('nemo', [{ container: 'gguf', form: 'padded' }]);
  breakWeights(join(gguf!, 'model.gguf'));
  const answer = await askLlamaCpp(join(gguf!, 'model.gguf'), { window: WINDOW, ids: [...ids] });
  expect(answer['negativeLogLikelihood']).toBe('NaN');
});

withPyTorch('a broken folder makes PyTorch compute NaN, which is reported', async () => {
  const [[padded]] = await exportSmall('llama with yarn', [{ form: 'padded' }]);
  breakWeights(join(padded!, 'model.safetensors'));
  const answer = ask(python!, [join(root, 'loaders/torch/evaluate.py'), padded!], { window: WINDOW, ids: [...ids], threads: 1 });
  expect(answer['negativeLogLikelihood']).toBe('NaN');
});

/** A loader whose input stays open, or ends right behind the request. */
function askHeld(command: string, args: string[], holds: boolean): Promise<{ status: number | null; stdout: string }> {
  const child = spawn(command, [...args, '--exit-with-stdin'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let stdout = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stdin.on('error', () => undefined);
  child.stdin.write(`${JSON.stringify({ window: WINDOW, ids: [...ids], threads: 1 })}\n`);
  if (!holds) child.stdin.end();
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, stdout })));
}

test.each([
  [
    'llama.cpp',
    hasLlamaCpp,
    (folders: string[]): [string, string[]] => [
      process.execPath,
      [join(root, 'loaders/llama-cpp/evaluate.mjs'), join(folders[0]!, 'model.gguf')],
    ],
  ],
  [
    'PyTorch',
    python !== undefined,
    (folders: string[]): [string, string[]] => [python!, [join(root, 'loaders/torch/evaluate.py'), folders[1]!]],
  ],
] as const)('%s does not outlive the process that asked it', async (_, isThere, command) => {
  if (!isThere) return;
  const [folders] = await exportSmall('smollm3', [{ container: 'gguf', form: 'padded' }, { form: 'padded' }]);
  const answered = await askHeld(...command(folders), true);
  expect(answered.status).toBe(0);
  expect(JSON.parse(answered.stdout)).toMatchObject({ predictions: (ids.length / WINDOW) * (WINDOW - 1) });
  expect(await askHeld(...command(folders), false)).toEqual({ status: 1, stdout: '' });
});

/**
 * Stands in for transformers, with only the parts that the class needs to be made. The script then reads the attribute that accelerate asks
 * for.
 */
const NO_SPLIT_CHECK = `
import json, sys, types
from torch import nn

class PreTrainedModel(nn.Module):
    def __init__(self, config):
        super().__init__()
    def post_init(self):
        pass

def module(name, **contents):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(contents)

module("transformers", GenerationMixin=object, PreTrainedModel=PreTrainedModel, PretrainedConfig=object)
module("transformers.cache_utils", DynamicCache=object)
module("transformers.modeling_outputs", CausalLMOutputWithPast=object)
folder = sys.argv[1]
package = types.ModuleType("export")
package.__path__ = [folder]
sys.modules["export"] = package
from export.modeling_espalier import EspalierCompactedForCausalLM, EspalierDecoder, Layer
model = EspalierCompactedForCausalLM(types.SimpleNamespace(**json.load(open(folder + "/config.json"))))
whole = [name for name, part in model.named_modules() if type(part).__name__ in EspalierCompactedForCausalLM._no_split_modules]
print(json.dumps({"whole": whole}))
`;

withPyTorch('the class of a folder of uneven layers names what may not be split over devices: each layer', async () => {
  const { session } = await studentOf(tinyModel);
  const outFolder = join(folder, 'no-split');
  const made = await exportSession(session, { form: 'compacted', dtype: 'f32', outFolder });
  const { whole } = ask(python!, ['-B', '-c', NO_SPLIT_CHECK, outFolder], {});
  expect(whole).toEqual(made.layers.map((_, layer) => `model.layers.${layer}`));
});

const texts = [
  'The capital of Norway is Oslo.',
  '  Two spaces,\ttabs\n\nand 12345 digits; 3.14% of it',
  "It's they'll we've I'M",
  'Ünïcödé — 日本語 🙂',
];

/**
 * Makes a tokenizer like the conversion of a SentencePiece model. Its merges are all pairs that make a token, in the order of the tokens.
 */
function sentencePiece(): object {
  const tokens = ['<unk>', '<s>', '</s>'];
  for (let byte = 0; byte < 256; byte++) tokens.push(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const words = 'the capital of norway is oslo and digits it they spaces'.split(' ').map((word) => [...`▁${word}`]);
  tokens.push(...new Set([...words.flat(), ...'TNOI.,;\'"%0123456789']));
  const merges: string[] = [];
  for (;;) {
    const counts = new Map<string, number>();
    for (const word of words)
      word.slice(1).forEach((right, i) => counts.set(`${word[i]} ${right}`, (counts.get(`${word[i]} ${right}`) ?? 0) + 1));
    const [best] = [...counts].sort((a, b) => b[1] - a[1]);
    if (best === undefined) break;
    const token = best[0].replace(' ', '');
    if (!tokens.includes(token)) {
      tokens.push(token);
      for (let at = 1; at < token.length; at++) {
        const [left, right] = [token.slice(0, at), token.slice(at)];
        if (tokens.includes(left) && tokens.includes(right)) merges.push(`${left} ${right}`);
      }
    }
    for (const word of words) {
      for (let i = 0; i + 1 < word.length;) {
        if (`${word[i]}${word[i + 1]}` === token) word.splice(i, 2, token);
        else i++;
      }
    }
  }
  return {
    version: '1.0',
    added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}

async function exportWith(tokenizer: object | undefined, name: string): Promise<string> {
  const modelFolder = join(folder, `${name}-model`);
  cpSync(tinyModel, modelFolder, { recursive: true });
  if (tokenizer !== undefined) writeFileSync(join(modelFolder, 'tokenizer.json'), JSON.stringify(tokenizer));
  const session = await Session.open({ modelFolder, settings: sessionSettings({ batchSize: 2, sequenceLength: 32 }) });
  await session.initialise(1n);
  const outFolder = join(folder, name);
  try {
    await exportSession(session, { container: 'gguf', form: 'masked', dtype: 'f16', outFolder });
  } finally {
    await session.close();
  }
  return join(outFolder, 'model.gguf');
}

/**
 * Makes the same tokenizer as newer conversions write it. `cut` says whether it cuts text into words. This changes nothing, since no token
 * continues after a space.
 */
function withMetaspace(cut: boolean): object {
  return {
    ...sentencePiece(),
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: cut },
  };
}

/** Words as Mistral Nemo cuts them. */
function tekken(): object {
  const json = JSON.parse(readFileSync(join(tinyModel, 'tokenizer.json'), 'utf8')) as Json;
  const upper = String.raw`\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}`;
  const lower = String.raw`\p{Ll}\p{Lm}\p{Lo}\p{M}`;
  const before = String.raw`[^\r\n\p{L}\p{N}]?`;
  const rest = String.raw`\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
  const Regex = `${before}[${upper}]*[${lower}]+|${before}[${upper}]+[${lower}]*|${rest}`;
  json.model.ignore_merges = true;
  json.pre_tokenizer = {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  };
  return json;
}

withLlamaCpp.each([
  ['byte-level', undefined],
  ['SentencePiece', sentencePiece()],
  ['SentencePiece with Metaspace', withMetaspace(false)],
  ['SentencePiece cut into words', withMetaspace(true)],
  ['Tekken', tekken()],
])('llama.cpp cuts text as the %s tokenizer does, and so does the model that the export becomes', async (name, tokenizer) => {
  const file = await exportWith(tokenizer, name);
  const json = tokenizer ?? (JSON.parse(readFileSync(join(tinyModel, 'tokenizer.json'), 'utf8')) as object);
  const ours = new Tokenizer(json, {});
  // Metaspace adds no space where there is one; llama.cpp always does.
  const cut = /Metaspace|words/.test(name) ? texts.filter((text) => !text.startsWith(' ')) : texts;
  const expected = cut.map((text) => ours.encode(text, { add_special_tokens: false }).ids);
  expect((await askLlamaCpp(file, { texts: cut }))['tokens']).toEqual(expected);
  const again = JSON.parse(
    readFileSync(join(await folderOfGguf(file, { env: { XDG_CACHE_HOME: folder } }), 'tokenizer.json'), 'utf8'),
  ) as object;
  const theirs = new Tokenizer(again, {});
  expect(cut.map((text) => theirs.encode(text, { add_special_tokens: false }).ids)).toEqual(expected);
});

withLlamaCpp('a tokenizer that composes characters is taken, and the export says that llama.cpp does not', async () => {
  const json = JSON.parse(readFileSync(join(tinyModel, 'tokenizer.json'), 'utf8')) as Json;
  json.normalizer = { type: 'NFC' };
  const file = await exportWith(json, 'composing');
  const readme = readFileSync(join(folder, 'composing', 'README.md'), 'utf8');
  expect(readme).toContain('composes characters first (NFC), which llama.cpp does not do');
  expect(readFileSync(join(await exportWith(undefined, 'plain'), '../README.md'), 'utf8')).not.toContain('NFC');
  const [composed, apart] = ['Übergröße'.normalize('NFC'), 'Übergröße'.normalize('NFD')];
  const ours = new Tokenizer(json, {}).encode(apart, { add_special_tokens: false }).ids;
  const theirs = (await askLlamaCpp(file, { texts: [composed, apart] }))['tokens'] as number[][];
  expect(theirs[0]).toEqual(ours); // llama.cpp cuts composed text into the same tokens
  expect(theirs[1]).not.toEqual(ours);
});

test.each([
  ['model.type', (one: Json) => (one.model.type = 'Unigram'), 'GGUF exports know BPE'],
  ['pre_tokenizer', (one: Json) => (one.pre_tokenizer = { type: 'Whitespace' }), 'beside byte fallback'],
  ['model.merges', (one: Json) => one.model.merges.pop(), 'SentencePiece in'],
  [
    'pre_tokenizer.split',
    (one: Json) => {
      one.normalizer = null;
      one.pre_tokenizer = { type: 'Metaspace', split: true };
      one.model.vocab['▁the▁'] = 290;
    },
    'tokens go on behind a space',
  ],
  ['normalizer', (one: Json) => (one.normalizer = { type: 'Lowercase' }), 'no equal of'],
])('a tokenizer that llama.cpp has no equal of is refused by name: %s', async (part, change, message) => {
  const tokenizer = sentencePiece() as Json;
  change(tokenizer);
  await expect(exportWith(tokenizer, `refused-${part}`)).rejects.toMatchObject({
    code: 'NOT_SUPPORTED',
    field: `tokenizer.json.${part}`,
    message: expect.stringContaining(message) as string,
  });
  expect(existsSync(join(folder, `refused-${part}`))).toBe(false);
});
interface Json {
  normalizer: unknown;
  pre_tokenizer: unknown;
  model: { type: string; merges: string[]; vocab: Record<string, number>; ignore_merges?: boolean };
}

// Holds models and exports against transformers' own classes, in random weights: likelihoods, generation with a cache, and tokens.
// ESPALIER_PYTHON names a Python that has transformers (python3 otherwise), of version 4 or 5.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { loadTokenizer } from '../libs/model-files/src/load-tokenizer.js';
import { evaluateModel, type Session } from './index.js';
import { exportSession, prunedSession, writeSmallModel, type SmallKind } from './testing.js';

const PYTHON = process.env['ESPALIER_PYTHON'] ?? 'python3';
const isThere = spawnSync(PYTHON, ['-c', 'import torch, transformers']).status === 0;
// A Llama 3: its rotary embedding is scaled.
const tinyModel = fileURLToPath(new URL('../../testdata/models/gqa-random-tiny', import.meta.url));
const WINDOW = 64;
const ids = Uint32Array.from({ length: 4 * WINDOW }, (_, i) => (i * i * 31 + 7 * i + 1) % 2048);
/** The most nats by which a token's likelihood may differ. */
const NATS = 1.1e-5;

/** Answers each line of a request with a line. Standard error is kept: a warning is a fault. */
const ANSWER = `
import json, sys, traceback
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

def model(folder):
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    if (getattr(config, "pad_token_id", None) or 0) >= config.vocab_size:
        config.pad_token_id = None  # the usual token of Phi-3 and SmolLM3, whose vocabularies are larger
    loaded = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, trust_remote_code=True)
    return loaded.eval()

def likelihoods(folder, ids, window):
    batch = torch.tensor(ids).view(-1, window)
    with torch.no_grad():
        scores = model(folder)(batch, use_cache=False).logits.double().log_softmax(-1)
    found = scores[:, :-1].gather(-1, batch[:, 1:, None])
    return (-found.mean((1, 2))).tolist()

def generate(folder, ids, count):
    loaded, batch = model(folder), torch.tensor([ids])
    options = {"max_new_tokens": count, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    options |= {"attention_mask": torch.ones_like(batch)}
    made = [loaded.generate(batch, use_cache=cached, **options)[0].tolist() for cached in (True, False)]
    return {"cached": made[0], "plain": made[1]}

def tokens(folder, texts):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    made = [tokenizer(text, add_special_tokens=False) for text in texts]
    return {"ids": [list(one["input_ids"]) for one in made], "names": sorted(made[0].keys())}

for line in sys.stdin:
    request = json.loads(line)
    try:
        print(json.dumps(globals()[request.pop("what")](**request)), flush=True)
    except Exception:
        print(json.dumps({"failed": traceback.format_exc()}), flush=True)
`;

class Transformers {
  private readonly child: ChildProcess;
  private readonly answers: AsyncIterator<string>;
  said = '';

  /** @param home transformers keeps copies of the exports' classes there */
  constructor(home: string) {
    const env = {
      ...process.env,
      HF_HOME: home,
      HF_HUB_OFFLINE: '1',
      HF_HUB_DISABLE_PROGRESS_BARS: '1',
      TQDM_DISABLE: '1',
      OMP_NUM_THREADS: '1',
    };
    this.child = spawn(PYTHON, ['-c', ANSWER], { stdio: ['pipe', 'pipe', 'pipe'], env });
    this.child.stderr!.on('data', (chunk: Buffer) => (this.said += chunk.toString()));
    this.answers = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  async ask<T>(what: string, request: object): Promise<T> {
    this.child.stdin!.write(`${JSON.stringify({ what, ...request })}\n`);
    const { value, done } = await this.answers.next();
    if (done) throw new Error(`transformers ended: ${this.said.slice(-2000)}`);
    const answer = JSON.parse(value) as T & { failed?: string };
    if (answer.failed !== undefined) throw new Error(answer.failed);
    return answer;
  }

  end(): void {
    this.child.stdin!.end();
  }
}

(isThere ? describe : describe.skip)('transformers', () => {
  let folder: string;
  let python: Transformers;
  const sessions: Session[] = [];
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'transformers-'));
    python = new Transformers(join(folder, 'home'));
  });
  afterAll(async () => {
    python.end();
    for (const session of sessions) await session.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const windows = Array.from({ length: ids.length / WINDOW }, (_, at) => ids.subarray(WINDOW * at, WINDOW * (at + 1)));
  async function expectSame(model: string, ours: (window: Uint32Array) => Promise<{ negativeLogLikelihood: number }>): Promise<void> {
    const theirs = await python.ask<number[]>('likelihoods', { folder: model, ids: [...ids], window: WINDOW });
    for (const [at, window] of windows.entries()) {
      const { negativeLogLikelihood } = await ours(window);
      expect(Math.abs(theirs[at]! - negativeLogLikelihood)).toBeLessThan(NATS);
    }
  }

  test.each<[string, SmallKind | null]>([
    ['Llama 3', null],
    ['Mistral', 'nemo'],
    ['Qwen2', 'qwen2'],
    ['Qwen3', 'qwen3'],
    ['Gemma', 'gemma'],
    ['Gemma 2', 'gemma2'],
    ['Gemma 3', 'gemma3'],
    ['Phi-3', 'phi3'],
    ['Granite', 'granite'],
    ['OLMo 2', 'olmo2'],
    ['SmolLM3', 'smollm3'],
  ])('computes what Espalier computes from a %s, intact and pruned, and generates the same with a cache', async (name, kind) => {
    const model = kind === null ? tinyModel : writeSmallModel(join(folder, name), kind);
    await expectSame(model, (window) => evaluateModel(model, { ids: window, window: WINDOW }));
    const session = await prunedSession(model, ids);
    sessions.push(session);
    for (const form of ['padded', 'compacted'] as const) {
      const outFolder = join(folder, `${name}-${form}`);
      await exportSession(session, { form, dtype: 'f32', outFolder });
      await expectSame(outFolder, (window) => session.evaluate({ ids: window, window: WINDOW }));
      if (form === 'padded') continue;
      const before = python.said.length;
      const made = await python.ask<{ cached: number[]; plain: number[] }>('generate', {
        folder: outFolder,
        ids: [...ids.subarray(0, 9)],
        count: 12,
      });
      expect(made.cached).toEqual(made.plain);
      expect(python.said.slice(before)).not.toContain('past_key_values');
    }
  });

  test.each(['GPT2Tokenizer', 'LlamaTokenizer', 'PreTrainedTokenizerFast'])(
    'makes the tokens of tokenizer.json from an export of a model whose class is %s',
    async (tokenizerClass) => {
      const model = join(folder, tokenizerClass);
      cpSync(tinyModel, model, { recursive: true });
      const path = join(model, 'tokenizer.json');
      const json = JSON.parse(readFileSync(path, 'utf8')) as { pre_tokenizer: unknown };
      // Digits stand alone, as in SmolLM2.
      json.pre_tokenizer = { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, json.pre_tokenizer] };
      writeFileSync(path, JSON.stringify(json));
      const settings = { tokenizer_class: tokenizerClass, bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' };
      writeFileSync(join(model, 'tokenizer_config.json'), JSON.stringify(settings));
      const session = await prunedSession(model, ids);
      sessions.push(session);
      const outFolder = join(folder, `${tokenizerClass}-export`);
      await exportSession(session, { form: 'padded', outFolder });
      const texts = ['at  428 items, 12345', 'The capital of Norway  is Oslo.\n\n42'];
      const ours = loadTokenizer({ tokenizerJson: JSON.stringify(json), configJson: '{}' });
      const theirs = await python.ask<{ ids: number[][]; names: string[] }>('tokens', { folder: outFolder, texts });
      expect(theirs.ids).toEqual(texts.map((text) => ours.encode(text, { add_special_tokens: false }).ids));
      if (tokenizerClass !== 'PreTrainedTokenizerFast') expect(theirs.names).toEqual(['attention_mask', 'input_ids']);
    },
  );
});

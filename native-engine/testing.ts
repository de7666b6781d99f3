// For tests: settings, and small seeded models of the kinds that are supported, as folders.
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { engineSettings, presetDefaults, type EngineSettingsUse, type SettingValues } from '#protocol';
import { exportModel, Session, type GivenExportOptions, type JobOptions } from './index.js';
import type { ExportedModel, Settings } from './native.js';

const tokenizerFolder = fileURLToPath(new URL('../../testdata/models/gqa-random-tiny', import.meta.url));
const VOCABULARY = 2048; // of that tokenizer

const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 24 };

/** The table's defaults for a session, but LoRA of a rank that suits small models. */
export function sessionSettings(changes: Partial<SettingValues> = {}): Settings {
  return { ...defaultsOf('session'), loraRank: 8, scanSequences: 0, ...changes };
}

/** For a segment: multipliers that learn slowly. */
export function trainingSettings(changes: Partial<Omit<SettingValues, 'seed'>> & { seed?: bigint } = {}): Settings {
  const computed = { maskLearningRate: 0.1, maskNoise: 1, lambdaLearningRate: 0.1 };
  return { ...defaultsOf('training'), seed: 7n, sparsityControl: 'multipliers', ...computed, ...changes };
}

function defaultsOf(use: EngineSettingsUse): Settings {
  const defaults = presetDefaults('short');
  return Object.fromEntries(engineSettings(use).flatMap(({ name }) => (defaults[name] === undefined ? [] : [[name, defaults[name]]])));
}

/** Fields of config.json beside the usual ones. Heads are together wider than the residual stream. */
export const smallKinds = {
  nemo: { architectures: ['MistralForCausalLM'], model_type: 'mistral', sliding_window: null, head_dim: 24 },
  qwen2: { architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2' },
  qwen3: { architectures: ['Qwen3ForCausalLM'], model_type: 'qwen3', tie_word_embeddings: true },
  'qwen3 with yarn': { architectures: ['Qwen3ForCausalLM'], model_type: 'qwen3', rope_scaling: yarn },
  'llama with yarn': { architectures: ['LlamaForCausalLM'], model_type: 'llama', rope_scaling: yarn },
  'llama with yarn of its own attention factor': {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    rope_scaling: { ...yarn, attention_factor: 0.8 },
  },
  granite: {
    architectures: ['GraniteForCausalLM'],
    model_type: 'granite',
    tie_word_embeddings: true,
    embedding_multiplier: 3,
    attention_multiplier: 0.4,
    residual_multiplier: 0.6,
    logits_scaling: 1.7,
  },
  phi3: { architectures: ['Phi3ForCausalLM'], model_type: 'phi3', sliding_window: 300 },
  gemma: { architectures: ['GemmaForCausalLM'], model_type: 'gemma', hidden_act: 'gelu' },
  gemma2: {
    architectures: ['Gemma2ForCausalLM'],
    model_type: 'gemma2',
    hidden_activation: 'gelu_pytorch_tanh',
    sliding_window: 9,
    query_pre_attn_scalar: 9,
    // Caps that change scores and logits of this size.
    attn_logit_softcapping: 3.5,
    final_logit_softcapping: 5.5,
  },
  gemma3: {
    architectures: ['Gemma3ForCausalLM'],
    model_type: 'gemma3_text',
    hidden_activation: 'gelu_pytorch_tanh',
    num_hidden_layers: 7, // the sixth has no sliding window
    sliding_window: 9,
    sliding_window_pattern: 6,
    query_pre_attn_scalar: 9,
    rope_theta: 5000,
    rope_scaling: { rope_type: 'linear', factor: 2 },
  },
  // llama.cpp asks for heads that are together as wide as the residual stream.
  olmo2: { architectures: ['Olmo2ForCausalLM'], model_type: 'olmo2', num_key_value_heads: 6, head_dim: 8, rope_theta: 500 },
  smollm3: { architectures: ['SmolLM3ForCausalLM'], model_type: 'smollm3', rope_theta: 500 },
} as const;
export type SmallKind = keyof typeof smallKinds;

/** Weights are large enough that each part of the computation shows in the logits. */
export function writeSmallModel(folder: string, kind: SmallKind, vocabulary = VOCABULARY): string {
  const config = {
    hidden_size: 48,
    num_hidden_layers: 4,
    num_attention_heads: 6,
    num_key_value_heads: 3,
    head_dim: 16,
    intermediate_size: 40,
    vocab_size: vocabulary,
    max_position_embeddings: 512,
    rms_norm_eps: 1e-5,
    bos_token_id: 1,
    eos_token_id: 2,
    ...smallKinds[kind],
  };
  mkdirSync(folder, { recursive: true });
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'])
    cpSync(join(tokenizerFolder, name), join(folder, name));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  writeFileSync(join(folder, 'model.safetensors'), safetensors(tensorsOf(config)));
  return folder;
}

interface SmallConfig {
  architectures: readonly string[];
  hidden_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  intermediate_size: number;
  vocab_size: number;
  tie_word_embeddings?: boolean;
}

function tensorsOf(c: SmallConfig): Map<string, { shape: number[]; values: Float32Array }> {
  const next = generator(20);
  const tensors = new Map<string, { shape: number[]; values: Float32Array }>();
  const matrix = (name: string, rows: number, cols: number, deviation = 1 / Math.sqrt(cols)): void => {
    const values = Float32Array.from({ length: rows * cols }, () => (next() + next() + next() + next() - 2) * Math.sqrt(3) * deviation);
    tensors.set(`${name}.weight`, { shape: [rows, cols], values });
  };
  const norm = (name: string, size: number): void => {
    tensors.set(`${name}.weight`, { shape: [size], values: Float32Array.from({ length: size }, () => next() * 2.5 - 0.5) });
  };
  const [queries, keys] = [c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim];
  matrix('model.embed_tokens', c.vocab_size, c.hidden_size, 1);
  norm('model.norm', c.hidden_size);
  const kind = c.architectures[0]!.replace('ForCausalLM', '');
  const [gemma, olmo] = [kind.startsWith('Gemma'), kind === 'Olmo2'];
  const behind = olmo || kind === 'Gemma2' || kind === 'Gemma3';
  if (!(c.tie_word_embeddings ?? (gemma || kind === 'SmolLM3'))) matrix('lm_head', c.vocab_size, c.hidden_size);
  for (let layer = 0; layer < c.num_hidden_layers; layer++) {
    const prefix = `model.layers.${layer}`;
    if (!olmo) norm(`${prefix}.input_layernorm`, c.hidden_size);
    norm(`${prefix}.post_attention_layernorm`, c.hidden_size);
    if (behind && !olmo) norm(`${prefix}.pre_feedforward_layernorm`, c.hidden_size);
    if (behind) norm(`${prefix}.post_feedforward_layernorm`, c.hidden_size);
    if (kind === 'Phi3') {
      matrix(`${prefix}.self_attn.qkv_proj`, queries + 2 * keys, c.hidden_size);
      matrix(`${prefix}.mlp.gate_up_proj`, 2 * c.intermediate_size, c.hidden_size);
    } else {
      matrix(`${prefix}.self_attn.q_proj`, queries, c.hidden_size);
      matrix(`${prefix}.self_attn.k_proj`, keys, c.hidden_size);
      matrix(`${prefix}.self_attn.v_proj`, keys, c.hidden_size);
      for (const [one, size] of kind === 'Qwen2'
        ? ([
            ['q', queries],
            ['k', keys],
            ['v', keys],
          ] as const)
        : [])
        tensors.set(`${prefix}.self_attn.${one}_proj.bias`, { shape: [size], values: Float32Array.from({ length: size }, next) });
      matrix(`${prefix}.mlp.gate_proj`, c.intermediate_size, c.hidden_size);
      matrix(`${prefix}.mlp.up_proj`, c.intermediate_size, c.hidden_size);
    }
    matrix(`${prefix}.self_attn.o_proj`, c.hidden_size, queries);
    matrix(`${prefix}.mlp.down_proj`, c.hidden_size, c.intermediate_size);
    if (kind !== 'Gemma3' && !olmo && kind !== 'Qwen3') continue;
    norm(`${prefix}.self_attn.q_norm`, olmo ? queries : c.head_dim);
    norm(`${prefix}.self_attn.k_norm`, olmo ? keys : c.head_dim);
  }
  return tensors;
}

/** Makes numbers in [0, 1). A seed gives the same numbers on every machine. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function safetensors(tensors: Map<string, { shape: number[]; values: Float32Array }>): Buffer {
  let end = 0;
  const header: Record<string, object> = {};
  for (const [name, { shape, values }] of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [end, (end += values.byteLength)] };
  }
  const text = JSON.stringify(header).padEnd(Math.ceil((JSON.stringify(header).length + 8) / 8) * 8);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([size, Buffer.from(text), ...[...tensors.values()].map(({ values }) => Buffer.from(values.buffer))]);
}

/** Returns a session whose state is pruned hard and unevenly. */
export async function prunedSession(modelFolder: string, ids: Uint32Array): Promise<Session> {
  const session = await Session.open({ modelFolder, settings: sessionSettings({ batchSize: 2, sequenceLength: 32 }) });
  await session.setData(ids);
  await session.initialise(1n);
  const steps = 40;
  await session.train({
    firstStep: 0,
    settings: trainingSettings({ maskLearningRate: 0.3, lambdaLearningRate: 20 }),
    losses: { layerWeight: 0.9, klWeight: 0.1, lmWeight: 0, temperature: 2 / 3 },
    trainMasks: true,
    returnState: false,
    loraLearningRate: Array<number>(steps).fill(1e-2),
    scheduledSparsity: Array<number>(steps).fill(0.6),
  });
  return session;
}

/** Exports the state of a session. */
export async function exportSession(
  session: Session,
  options: Omit<GivenExportOptions, 'modelFolder' | 'weightsDigest' | 'stateFile'>,
  job: JobOptions<number> = {},
): Promise<ExportedModel> {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-state-'));
  try {
    const stateFile = join(folder, 'state.safetensors');
    writeFileSync(stateFile, (await session.exportState()).bytes);
    return await exportModel({ ...options, modelFolder: session.options.modelFolder, stateFile }, job);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// Describes a GGUF file's model in Hugging Face's form: its config.json, and for each of its tensors the name and the order of rows. This
// is the way back from the engine's own exports (native-engine/core/export/gguf, core/model/gguf_names.h), and fits files of llama.cpp.
import { invalid, quoted, unsupported } from './gguf-error.js';
import { Metadata, needed } from './gguf-metadata.js';
import type { Gguf, GgufTensor } from './read-gguf.js';

/** A tensor as the folder has it. */
export interface ModelTensor {
  name: string;
  from: GgufTensor;
  /**
   * The rows of a head, if llama.cpp has them in another order: it pairs neighbours for rotary embedding where Hugging Face pairs the
   * halves of a head.
   */
  headRows: number | null;
  /** Is added to each value. */
  add: number;
}

export interface ModelOfGguf {
  config: Record<string, unknown>;
  tensors: ModelTensor[];
  rowsOfVocabulary: number;
}

interface Facts {
  name: string;
  type: string;
  /** Rows of q and k are in llama.cpp's order. */
  paired: boolean;
  bias?: true;
  fused?: true;
  headNorms?: true;
  noPreNorms?: true;
  postNorms?: true;
  /** A Gemma: GELU, and norms that multiply by 1 + w, of which the file has 1 + w. */
  gemma?: true;
}

/** By general.architecture. `deci` is a llama whose layers differ in width. */
const ARCHITECTURES: ReadonlyMap<string, Facts> = new Map([
  ['llama', { name: 'LlamaForCausalLM', type: 'llama', paired: true }],
  ['deci', { name: 'LlamaForCausalLM', type: 'llama', paired: true }],
  ['qwen2', { name: 'Qwen2ForCausalLM', type: 'qwen2', paired: false, bias: true }],
  ['qwen3', { name: 'Qwen3ForCausalLM', type: 'qwen3', paired: false, headNorms: true }],
  ['smollm3', { name: 'SmolLM3ForCausalLM', type: 'smollm3', paired: true }],
  ['granite', { name: 'GraniteForCausalLM', type: 'granite', paired: true }],
  ['phi3', { name: 'Phi3ForCausalLM', type: 'phi3', paired: false, fused: true }],
  ['gemma', { name: 'GemmaForCausalLM', type: 'gemma', paired: false, gemma: true }],
  ['gemma2', { name: 'Gemma2ForCausalLM', type: 'gemma2', paired: false, postNorms: true, gemma: true }],
  ['gemma3', { name: 'Gemma3ForCausalLM', type: 'gemma3_text', paired: false, headNorms: true, postNorms: true, gemma: true }],
  ['olmo2', { name: 'Olmo2ForCausalLM', type: 'olmo2', paired: false, headNorms: true, noPreNorms: true, postNorms: true }],
]);

const ROPE_FACTORS = 'rope_freqs.weight';
const LAYERS_MAX = 4096;
/** llama.cpp rotates queries and keys of a SmolLM3 in all layers but every fourth. */
const SMOLLM3_INTERVAL = 4;
/** A Gemma 2 has a sliding window in every second layer, a Gemma 3 in all layers but every sixth. */
const GEMMA2_PATTERN = 2;
const GEMMA3_PATTERN = 6;
/** llama.cpp recognises the largest Gemma 2 and 3 by their layers: the scale of their scores follows from another width. */
const GEMMA2_LARGEST_LAYERS = 46;
const GEMMA3_LARGEST_LAYERS = 62;
/** llama.cpp's Gemma 2, where the file does not say them. */
const GEMMA2_WINDOW = 4096;
const GEMMA2_SCORE_CAP = 50;
const GEMMA2_LOGITS_CAP = 30;

/** Ends of keys that the functions below read, and of those that change nothing. */
const KNOWN_KEYS = [
  ...['block_count', 'context_length', 'embedding_length', 'feed_forward_length', 'vocab_size', 'rope.dimension_count', 'rope.freq_base'],
  ...['attention.head_count', 'attention.head_count_kv', 'attention.key_length', 'attention.value_length', 'attention.causal'],
  ...['attention.layer_norm_rms_epsilon', 'rope.scaling.type', 'rope.scaling.factor', 'rope.scaling.original_context_length'],
  ...['rope.scaling.attn_factor', 'rope.scaling.yarn_beta_fast', 'rope.scaling.yarn_beta_slow', 'rope.scaling.finetuned'],
  'tensor_data_layout',
];
const OWN_KEYS: Readonly<Record<string, string[]>> = {
  granite: ['attention.scale', 'embedding_scale', 'residual_scale', 'logit_scale'],
  gemma2: ['attention.sliding_window', 'attn_logit_softcapping', 'final_logit_softcapping'],
  gemma3: ['attention.sliding_window', 'attention.sliding_window_pattern', 'rope.freq_base_swa'],
  phi3: ['attention.sliding_window'],
};

/** @throws GgufError */
export function modelOfGguf({ metadata: values, tensors }: Gguf): ModelOfGguf {
  const metadata = new Metadata(values);
  const architecture = needed(metadata.text('general.architecture'), 'general.architecture');
  const known = ARCHITECTURES.get(architecture);
  if (known === undefined) {
    const allowed = [...ARCHITECTURES.keys()].join(', ');
    throw unsupported(`general.architecture is ${quoted(architecture)}; allowed are ${allowed}`);
  }
  // An export of a Qwen2 is a llama with biases.
  const hasBias = known.name === 'LlamaForCausalLM' && tensors.has('blk.0.attn_q.bias');
  const facts: Facts = hasBias ? { ...known, name: 'Qwen2ForCausalLM', type: 'qwen2', bias: true } : known;
  refuseUnknownKeys(metadata, architecture);
  const shape = shapeOf(metadata, architecture, tensors);
  const config = {
    architectures: [facts.name],
    model_type: facts.type,
    ...(facts.gemma === true ? { hidden_act: 'gelu_pytorch_tanh', hidden_activation: 'gelu_pytorch_tanh' } : { hidden_act: 'silu' }),
    hidden_size: shape.hidden,
    num_hidden_layers: shape.layers,
    num_attention_heads: Math.max(...shape.heads),
    num_key_value_heads: Math.max(...shape.keyHeads),
    head_dim: shape.headWidth,
    intermediate_size: Math.max(...shape.units),
    vocab_size: shape.vocabulary,
    max_position_embeddings: shape.context,
    rms_norm_eps: shortest(needed(metadata.number(`${architecture}.attention.layer_norm_rms_epsilon`), 'the epsilon of the norms')),
    rope_theta: shape.ropeBase,
    rope_scaling: ropeScaling(metadata, architecture, shape),
    tie_word_embeddings: !tensors.has('output.weight'),
    ...particulars(metadata, architecture, facts, shape),
  };
  return {
    config: isEven(shape) ? config : uneven(config, facts, shape),
    tensors: modelTensors(facts, shape, tensors),
    rowsOfVocabulary: shape.vocabulary,
  };
}

/** Refuses a key that may change the computation. One that is 0 or false turns nothing on. */
function refuseUnknownKeys({ values }: Metadata, architecture: string): void {
  const prefix = `${architecture}.`;
  const known = new Set([...KNOWN_KEYS, ...(OWN_KEYS[architecture] ?? [])].map((end) => prefix + end));
  for (const [key, value] of values) {
    if (!key.startsWith(prefix) || known.has(key) || value === 0 || value === false) continue;
    throw unsupported(`${quoted(key)} is ${quoted(JSON.stringify(value).slice(0, 81))}; models without it are allowed`);
  }
  if (values.get(`${prefix}attention.causal`) === false) throw unsupported(`${prefix}attention.causal is false; true is allowed`);
}

interface Shape {
  layers: number;
  hidden: number;
  vocabulary: number;
  context: number;
  headWidth: number;
  ropeBase: number;
  heads: number[];
  keyHeads: number[];
  units: number[];
  ropeFactors: GgufTensor | undefined;
}

function shapeOf(metadata: Metadata, architecture: string, tensors: Gguf['tensors']): Shape {
  const key = (end: string): string => `${architecture}.${end}`;
  const whole = (end: string): number => needed(metadata.whole(key(end)), key(end));
  const layers = whole('block_count');
  if (layers < 1 || layers > LAYERS_MAX) throw invalid(`${key('block_count')} is ${layers}; 1 to ${LAYERS_MAX} are allowed`);
  const hidden = whole('embedding_length');
  const heads = needed(metadata.perLayer(key('attention.head_count'), layers), key('attention.head_count'));
  const keyHeads = metadata.perLayer(key('attention.head_count_kv'), layers) ?? heads;
  const units = needed(metadata.perLayer(key('feed_forward_length'), layers), key('feed_forward_length'));
  heads.forEach((count, layer) => {
    const keys = keyHeads[layer]!;
    if (count > 0 && (keys === 0 || count % keys !== 0))
      throw unsupported(`layer ${layer} has ${count} query heads and ${keys} key heads; a multiple of the key heads is allowed`);
  });
  const most = Math.max(...heads);
  if (most === 0) throw unsupported('no layer has attention; models with attention are allowed');
  const headWidth = metadata.whole(key('attention.key_length')) ?? hidden / most;
  for (const end of ['attention.value_length', 'rope.dimension_count']) {
    const width = metadata.whole(key(end)) ?? headWidth;
    if (width !== headWidth) throw unsupported(`${key(end)} is ${width}; the width of a key, ${headWidth}, is allowed`);
  }
  if (!Number.isInteger(headWidth) || headWidth < 2 || headWidth % 2 !== 0)
    throw invalid(`a head is ${headWidth} wide; an even width is allowed`);
  const vocabulary = needed(tensors.get('token_embd.weight'), 'token_embd.weight').shape[0]!;
  return {
    ...{ layers, hidden, vocabulary, heads, keyHeads, units, headWidth },
    context: whole('context_length'),
    ropeBase: metadata.number(key('rope.freq_base')) ?? 10_000,
    ropeFactors: tensors.get(ROPE_FACTORS),
  };
}

const alike = (numbers: readonly number[]): boolean => numbers.every((one) => one === numbers[0]);
const isEven = ({ heads, keyHeads, units }: Shape): boolean => [heads, keyHeads, units].every(alike);

const windowsButEvery = (pattern: number, layers: readonly number[]): string[] =>
  layers.map((layer) => (layer % pattern === 0 ? 'full_attention' : 'sliding_attention'));

/** The fields by which architectures differ. */
function particulars(metadata: Metadata, architecture: string, { type }: Facts, shape: Shape): Record<string, unknown> {
  const number = (end: string): number | undefined => {
    const value = metadata.number(`${architecture}.${end}`);
    return value === undefined ? undefined : shortest(value);
  };
  const layers = Array.from({ length: shape.layers }, (_, layer) => layer + 1);
  switch (type) {
    case 'granite':
      return {
        embedding_multiplier: number('embedding_scale') ?? 1,
        attention_multiplier: number('attention.scale') || 1 / Math.sqrt(shape.headWidth),
        residual_multiplier: number('residual_scale') ?? 1,
        logits_scaling: number('logit_scale') ?? 1,
      };
    case 'smollm3':
      return { no_rope_layers: layers.map((layer) => (layer % SMOLLM3_INTERVAL === 0 ? 0 : 1)) };
    case 'gemma2':
      return {
        layer_types: windowsButEvery(GEMMA2_PATTERN, layers),
        sliding_window: number('attention.sliding_window') ?? GEMMA2_WINDOW,
        query_pre_attn_scalar: shape.layers === GEMMA2_LARGEST_LAYERS ? shape.hidden / shape.heads[0]! : shape.headWidth,
        attn_logit_softcapping: number('attn_logit_softcapping') ?? GEMMA2_SCORE_CAP,
        final_logit_softcapping: number('final_logit_softcapping') ?? GEMMA2_LOGITS_CAP,
      };
    case 'gemma3_text': {
      const pattern = metadata.values.get(`${architecture}.attention.sliding_window_pattern`) ?? GEMMA3_PATTERN;
      if (pattern !== GEMMA3_PATTERN)
        throw unsupported(`${architecture}.attention.sliding_window_pattern is allowed as ${GEMMA3_PATTERN} alone`);
      return {
        layer_types: windowsButEvery(GEMMA3_PATTERN, layers),
        sliding_window: number('attention.sliding_window') || null,
        rope_local_base_freq: number('rope.freq_base_swa') ?? 10_000,
        query_pre_attn_scalar: shape.layers === GEMMA3_LARGEST_LAYERS ? shape.hidden / shape.heads[0]! : shape.headWidth,
      };
    }
    case 'phi3':
      return { sliding_window: number('attention.sliding_window') || null };
    default:
      return {};
  }
}

/** The form of our own exports whose layers differ in width. */
function uneven(config: Record<string, unknown>, { name }: Facts, { hidden, heads, keyHeads, units }: Shape): Record<string, unknown> {
  const { num_attention_heads: most, num_key_value_heads: mostKeys, intermediate_size: mostUnits, ...rest } = config;
  const layers = heads.map((count, layer) => ({
    num_attention_heads: count,
    num_key_value_heads: count === 0 ? 0 : keyHeads[layer],
    query_to_kv: Array.from({ length: count }, (_, head) => Math.floor((head * keyHeads[layer]!) / count)),
    intermediate_size: units[layer],
  }));
  const dense = { hidden_size: hidden, num_attention_heads: most, num_key_value_heads: mostKeys, intermediate_size: mostUnits };
  return {
    ...rest,
    architectures: ['EspalierCompactedForCausalLM'],
    model_type: 'espalier_compacted',
    espalier: { format_version: 1, form: 'compacted', base_architecture: name, dense, layers },
  };
}

/** Numbers of the metadata are f32. Returns the number with the fewest digits that is the same in f32, such as 0.00001. */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

function ropeScaling(metadata: Metadata, architecture: string, shape: Shape): Record<string, unknown> | null {
  const key = (end: string): string => `${architecture}.rope.scaling.${end}`;
  const type = metadata.text(key('type')) ?? 'none';
  const factor = (): number => shortest(needed(metadata.number(key('factor')), key('factor')));
  if (shape.ropeFactors !== undefined) return { rope_type: 'llama3' }; // the rule is found by the tensor's values (llama3-rule.ts)
  switch (type) {
    case 'none':
      return null;
    case 'linear':
      return { rope_type: 'linear', factor: factor() };
    case 'yarn': {
      const own = metadata.number(key('attn_factor'));
      const [fast, slow] = [metadata.number(key('yarn_beta_fast')), metadata.number(key('yarn_beta_slow'))];
      return {
        rope_type: 'yarn',
        factor: factor(),
        original_max_position_embeddings: needed(metadata.whole(key('original_context_length')), key('original_context_length')),
        ...(own === undefined ? {} : { attention_factor: own * (0.1 * Math.log(factor()) + 1) }),
        ...(fast === undefined ? {} : { beta_fast: fast }),
        ...(slow === undefined ? {} : { beta_slow: slow }),
      };
    }
    default:
      throw unsupported(`${key('type')} is ${quoted(type)}; allowed are none, linear and yarn`);
  }
}

function modelTensors(facts: Facts, shape: Shape, tensors: Gguf['tensors']): ModelTensor[] {
  const offset = facts.gemma === true ? -1 : 0;
  const out: ModelTensor[] = [];
  const left = new Set(tensors.keys());
  left.delete(ROPE_FACTORS);
  const addTensor = (from: string, name: string, { headRows = null, add = 0 }: { headRows?: number | null; add?: number } = {}): void => {
    const tensor = tensors.get(from);
    if (tensor === undefined) throw invalid(`the tensor ${from} is missing`);
    if (headRows !== null && tensor.shape[0]! % headRows !== 0)
      throw invalid(`the tensor ${from} has ${tensor.shape[0]} rows; a multiple of a head's ${headRows} is allowed`);
    left.delete(from);
    out.push({ name, from: tensor, headRows, add });
  };
  addTensor('token_embd.weight', 'model.embed_tokens.weight');
  addTensor('output_norm.weight', 'model.norm.weight', { add: offset });
  if (tensors.has('output.weight')) addTensor('output.weight', 'lm_head.weight');
  const paired = facts.paired ? shape.headWidth : null;
  for (let layer = 0; layer < shape.layers; layer++) {
    const part = (from: string, name: string, options?: Parameters<typeof addTensor>[2]): void =>
      addTensor(`blk.${layer}.${from}`, `model.layers.${layer}.${name}`, options);
    const norm = (from: string, name: string): void => part(`${from}.weight`, `${name}.weight`, { add: offset });
    if (shape.heads[layer]! > 0) {
      if (facts.noPreNorms !== true) norm('attn_norm', 'input_layernorm');
      if (facts.fused === true) part('attn_qkv.weight', 'self_attn.qkv_proj.weight');
      for (const one of facts.fused === true ? [] : ['q', 'k', 'v'])
        for (const kind of facts.bias === true ? ['weight', 'bias'] : ['weight'])
          part(`attn_${one}.${kind}`, `self_attn.${one}_proj.${kind}`, { headRows: one === 'v' ? null : paired });
      for (const one of facts.headNorms === true ? ['q', 'k'] : []) norm(`attn_${one}_norm`, `self_attn.${one}_norm`);
      part('attn_output.weight', 'self_attn.o_proj.weight');
      if (facts.postNorms === true) norm('post_attention_norm', 'post_attention_layernorm');
    }
    if (shape.units[layer]! > 0) {
      if (facts.noPreNorms !== true) norm('ffn_norm', facts.postNorms === true ? 'pre_feedforward_layernorm' : 'post_attention_layernorm');
      if (facts.fused === true) part('ffn_up.weight', 'mlp.gate_up_proj.weight');
      for (const one of facts.fused === true ? [] : ['gate', 'up']) part(`ffn_${one}.weight`, `mlp.${one}_proj.weight`);
      part('ffn_down.weight', 'mlp.down_proj.weight');
      if (facts.postNorms === true) norm('post_ffw_norm', 'post_feedforward_layernorm');
    }
  }
  const [other] = left;
  if (other !== undefined) throw unsupported(`the tensor ${quoted(other)} has no place in a ${facts.name}`);
  return out;
}

/**
 * Returns the parameters of llama3's rule by the divisors that it gives for each pair of a head. The tensor holds the divisors alone; our
 * exports store the rule beside it. Each Llama that has the rule has 1, 4 and 8,192, and the largest divisor is the factor.
 */
export function llama3Rule(values: Gguf['metadata'], divisors: Float32Array, headWidth: number, base: number): Record<string, unknown> {
  const metadata = new Metadata(values);
  const own = (end: string): number | undefined => metadata.number(`espalier.rope_scaling.${end}`);
  const rule = {
    rope_type: 'llama3',
    factor: shortest(own('factor') ?? Math.max(...divisors)),
    low_freq_factor: shortest(own('low_freq_factor') ?? 1),
    high_freq_factor: shortest(own('high_freq_factor') ?? 4),
    original_max_position_embeddings: own('original_max_positions') ?? 8192,
  };
  const expected = Array.from({ length: headWidth / 2 }, (_, pair) => {
    const turns = (rule.original_max_position_embeddings * base ** ((-2 * pair) / headWidth)) / (2 * Math.PI);
    const kept = Math.min(Math.max((turns - rule.low_freq_factor) / (rule.high_freq_factor - rule.low_freq_factor), 0), 1);
    return 1 / (kept + (1 - kept) / rule.factor);
  });
  if (divisors.length === expected.length && expected.every((one, pair) => Math.abs(divisors[pair]! / one - 1) < 1e-4)) return rule;
  throw unsupported(`the values of ${ROPE_FACTORS} do not follow from the rule of Llama 3.1; only this rule is known for them`);
}

// node scripts/random-model.mjs FOLDER SHAPE.json TOKENIZER-FOLDER [SEED]
//
// Writes a LLaMA or Qwen2 model with random weights, to be trained from scratch: recovery of all weights under cross-entropy is ordinary
// training (docs/study.md has the commands). SHAPE.json is a config.json. The same seed gives the same bytes.
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

const [folder, shapeFile, tokenizerFolder, seed = '1'] = process.argv.slice(2);
if (tokenizerFolder === undefined) {
  console.error('node scripts/random-model.mjs FOLDER SHAPE.json TOKENIZER-FOLDER [SEED]');
  process.exit(2);
}
if (existsSync(join(folder, 'model.safetensors'))) {
  console.error(`${folder} has a model already`);
  process.exit(1);
}

const config = JSON.parse(readFileSync(shapeFile, 'utf8'));
const { hidden_size: hidden, intermediate_size: units, num_hidden_layers: layers, vocab_size: vocabulary } = config;
const queries = config.num_attention_heads * config.head_dim;
const keys = config.num_key_value_heads * config.head_dim;

// Qwen2 has biases on queries, keys and values.
const hasBiases = config.architectures[0] === 'Qwen2ForCausalLM';

const SPREAD = 0.02; // standard deviation, as usual for such models
const intoStream = SPREAD / Math.sqrt(2 * layers); // each layer adds to the residual stream twice

/** @type {{ name: string, shape: number[], spread: number }[]} a spread of 0 is a norm: all of its weights are 1 */
const tensors = [
  { name: 'model.embed_tokens.weight', shape: [vocabulary, hidden], spread: SPREAD },
  ...Array.from({ length: layers }, (_, layer) => {
    const at = `model.layers.${layer}`;
    return [
      { name: `${at}.input_layernorm.weight`, shape: [hidden], spread: 0 },
      { name: `${at}.self_attn.q_proj.weight`, shape: [queries, hidden], spread: SPREAD },
      { name: `${at}.self_attn.k_proj.weight`, shape: [keys, hidden], spread: SPREAD },
      { name: `${at}.self_attn.v_proj.weight`, shape: [keys, hidden], spread: SPREAD },
      ...(hasBiases ? biasesAt(at) : []),
      { name: `${at}.self_attn.o_proj.weight`, shape: [hidden, queries], spread: intoStream },
      { name: `${at}.post_attention_layernorm.weight`, shape: [hidden], spread: 0 },
      { name: `${at}.mlp.gate_proj.weight`, shape: [units, hidden], spread: SPREAD },
      { name: `${at}.mlp.up_proj.weight`, shape: [units, hidden], spread: SPREAD },
      { name: `${at}.mlp.down_proj.weight`, shape: [hidden, units], spread: intoStream },
    ];
  }).flat(),
  { name: 'model.norm.weight', shape: [hidden], spread: 0 },
  ...(config.tie_word_embeddings ? [] : [{ name: 'lm_head.weight', shape: [vocabulary, hidden], spread: SPREAD }]),
];

function biasesAt(at) {
  const sizes = { q_proj: queries, k_proj: keys, v_proj: keys };
  return Object.entries(sizes).map(([name, size]) => ({ name: `${at}.self_attn.${name}.bias`, shape: [size], spread: SPREAD }));
}

/** Numbers in (0, 1), the same for the same seed. */
function uniformFrom(start) {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
}

const uniform = uniformFrom(Number(seed));
const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());

/** The upper half of a float of 32 bits, rounded to nearest, is a bf16. */
const word = new DataView(new ArrayBuffer(4));
function bf16(value) {
  word.setFloat32(0, value);
  const bits = word.getUint32(0);
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

const header = {};
const bodies = [];
let offset = 0;
for (const { name, shape, spread } of tensors) {
  const values = new Uint16Array(shape.reduce((product, size) => product * size, 1));
  for (let index = 0; index < values.length; index++) values[index] = bf16(spread === 0 ? 1 : spread * normal());
  header[name] = { dtype: 'BF16', shape, data_offsets: [offset, offset + values.byteLength] };
  offset += values.byteLength;
  bodies.push(Buffer.from(values.buffer));
}
const text = JSON.stringify(header);
const head = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
const length = Buffer.alloc(8);
length.writeBigUInt64LE(BigInt(head.length));

mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, 'model.safetensors'), Buffer.concat([length, head, ...bodies]));
writeFileSync(join(folder, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
for (const name of ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'generation_config.json']) {
  const from = join(tokenizerFolder, name);
  if (existsSync(from)) copyFileSync(from, join(folder, name));
}
console.log(`${folder}: ${(offset / 2).toLocaleString('en')} parameters`);

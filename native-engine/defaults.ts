// The defaults of the engine's options.
import type { LoraOptions, TrainerOptions } from './native.js';

const trainerDefaults: TrainerOptions = {
  computeDtype: 'bf16',
  batchSize: 8,
  sequenceLength: 128,
  microShards: 1,
  threads: 0,
  exactSparse: true,
  checkpointActivations: false,
  streamWeights: false,
  memoryLimitBytes: 0,
  device: 'auto',
};
const loraDefaults: LoraOptions = {
  rank: 8,
  alpha: 8,
  targets: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
};
export const evaluateDefaults = { window: 256, computeDtype: 'f32', device: 'auto', threads: 0, intact: false } as const;
export const generateDefaults = { endTokens: new Uint32Array(), computeDtype: 'f32', device: 'auto', threads: 0, intact: false } as const;
export const exportDefaults = { container: 'safetensors', dtype: 'source', multipleOf: 1, modelCard: '' } as const;

export const scorerDefaults = { computeDtype: 'f32', device: 'auto', threads: 0, intact: false } as const;

export function trainerOptions(options: Partial<TrainerOptions>): TrainerOptions {
  const known = Object.keys(trainerDefaults) as (keyof TrainerOptions)[];
  return { ...trainerDefaults, ...Object.fromEntries(known.filter((key) => options[key] !== undefined).map((key) => [key, options[key]])) };
}

export function loraOptions(lora: Partial<LoraOptions> = {}): LoraOptions {
  return { ...loraDefaults, ...defined(lora) };
}

/** Without the fields that are undefined, so that they do not hide defaults. */
export function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

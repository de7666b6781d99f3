// The defaults of the engine's options. Settings of a run have none here: the table of settings has them.

export const trainerDefaults = { threads: 0, memoryLimitBytes: 0, teachers: 0, device: 'auto', sliceBytes: 2 ** 28 } as const;
export const scorerDefaults = { computeDtype: 'f32', device: 'auto', threads: 0, intact: false } as const;
export const evaluateDefaults = { ...scorerDefaults, window: 256 } as const;
export const generateDefaults = { ...scorerDefaults, endTokens: new Uint32Array() } as const;
export const exportDefaults = { container: 'safetensors', dtype: 'source', multipleOf: 1, modelCard: '' } as const;

/** Drops the fields that are undefined, so that they do not hide defaults. */
export function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

// Remembers the digests of the weights that this process has read. A session of a model that was read before opens without reading them.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { strictFileMark } from '#files';
import type { ModelDescription, NativeSession } from './native.js';

/** The files that the core reads of a model. */
const MODEL_FILE = /^config\.json$|\.safetensors$|\.safetensors\.index\.json$|\.gguf$/;

const known = new Map<string, { mark: string; weightsDigest: string }>();

/** Loads a model with its digest. Weights are read again when a file of the model has changed. @throws the errors of the core */
export async function loadWithDigest(native: Pick<NativeSession, 'load'>, folder: string): Promise<ModelDescription> {
  const mark = markOf(folder);
  const before = known.get(folder);
  if (before !== undefined && before.mark === mark) {
    const model = await native.load({ folder, readWeights: false });
    if (markOf(folder) === mark) return { ...model, weightsDigest: before.weightsDigest };
  }
  const model = await native.load({ folder, readWeights: true });
  if (mark !== null && markOf(folder) === mark) known.set(folder, { mark, weightsDigest: model.weightsDigest });
  return model;
}

/**
 * A text that changes when a file of the model is written to, replaced, added or removed; null: the folder can't be read.
 */
function markOf(folder: string): string | null {
  try {
    const names = readdirSync(folder).filter((name) => MODEL_FILE.test(name));
    const files = names.sort().map((name) => ({ name, found: statSync(join(folder, name), { bigint: true }) }));
    return files.map(({ name, found }) => `${name} ${strictFileMark(found)}`).join('\n');
  } catch {
    return null;
  }
}

// Lists the files of a model for an engine on another machine: names, sizes and digests of all files that an engine reads, and their
// beginnings where an engine only answers questions.
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FileDigests, fileMark } from '#files';
import { EspalierError, type engineV1 } from '#protocol';

const CONFIG = 'config.json';
const INDEX = 'model.safetensors.index.json';
const SAFETENSORS = 'model.safetensors';
const GGUF = 'model.gguf';
/** The files beside the weights that are sent: those of the tokenizer and of generation, and licences, which go into exports. */
const BESIDE = /^[\w.+-]+\.(json|txt|model|jinja)$|^(LICENSE|NOTICE|USE_POLICY)[\w.]*$/;
const BESIDE_BYTES_MAX = 256 << 20;
/** The longest index that an engine reads, and the longest beginning of a file that is sent. */
const HEAD_BYTES_MAX = 32 << 20;
const LENGTH_BYTES = 8;

export interface ModelFile {
  name: string;
  path: string;
  bytes: number;
  /** A text that changes with the content of the file. */
  mark: string;
}

/** @throws EspalierError MODEL_NOT_FOUND */
export async function filesOfModel(folder: string): Promise<ModelFile[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw notFound(`${folder} can't be read: ${(error as Error).message}`, error);
  });
  const weights = new Set(await weightsAmong(folder, names));
  const files: ModelFile[] = [];
  for (const name of names.sort()) {
    if (!weights.has(name) && !BESIDE.test(name)) continue;
    const path = join(folder, name);
    const found = await stat(path, { bigint: true }).catch(() => null);
    if (found === null || !found.isFile() || (!weights.has(name) && found.size > BESIDE_BYTES_MAX)) continue;
    files.push({ name, path, bytes: Number(found.size), mark: fileMark(found) });
  }
  if (files.length === 0) throw notFound(`${folder} holds no file of a model`);
  return files;
}

/**
 * Returns the names of the weights' files, by the engine's own rules (core/model/model_weights.cpp). For a broken index it returns none,
 * and the engine then reports what is wrong.
 */
async function weightsAmong(folder: string, names: readonly string[]): Promise<string[]> {
  if (names.includes(INDEX)) {
    try {
      const { weight_map: map } = JSON.parse(await readFile(join(folder, INDEX), 'utf8')) as { weight_map: Record<string, unknown> };
      return [...new Set(Object.values(map))].filter((name): name is string => typeof name === 'string');
    } catch {
      return [];
    }
  }
  if (!names.includes(CONFIG)) return [GGUF];
  return [SAFETENSORS];
}

/** The digests of files, for all engines of this process. */
const digests = new FileDigests();

/** @throws EspalierError MODEL_NOT_FOUND */
export async function digestOf({ path }: ModelFile): Promise<string> {
  try {
    return await digests.of(path);
  } catch (error) {
    throw notFound((error as Error).message, error); // the error names the path
  }
}

/** Returns the beginnings of files, as far as the shapes and types of the weights need them. */
export async function outlineOf(files: readonly ModelFile[]): Promise<engineV1.ModelFile[]> {
  const outline: engineV1.ModelFile[] = [];
  for (const { name, path, bytes } of files) {
    const isRead = name === CONFIG || name === INDEX || name.endsWith('.safetensors') || name === GGUF;
    if (isRead) outline.push({ name, bytes: BigInt(bytes), digest: '', head: await headOf(path, name, bytes) });
  }
  return outline;
}

async function headOf(path: string, name: string, bytes: number): Promise<Buffer> {
  try {
    const file = await open(path, 'r');
    try {
      const begin = async (length: number): Promise<Buffer> => {
        const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0);
        return buffer.subarray(0, bytesRead);
      };
      if (!name.endsWith('.safetensors')) return await begin(Math.min(bytes, HEAD_BYTES_MAX));
      const start = await begin(Math.min(bytes, LENGTH_BYTES));
      if (start.byteLength < LENGTH_BYTES) return start;
      const header = Number(start.readBigUInt64LE()); // a damaged file may have any number here
      return await begin(Math.min(bytes, LENGTH_BYTES + header, HEAD_BYTES_MAX));
    } finally {
      await file.close();
    }
  } catch (error) {
    throw notFound(`${path} can't be read: ${(error as Error).message}`, error);
  }
}

function notFound(message: string, cause?: unknown): EspalierError {
  return new EspalierError('MODEL_NOT_FOUND', message, {
    violations: [{ field: 'model_path', description: message, code: 'MODEL_NOT_FOUND' }],
    ...(cause === undefined ? {} : { cause }),
  });
}

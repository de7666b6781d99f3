// The files of a model as an engine elsewhere needs them: names, sizes and digests of all that an engine reads of a model's folder, and for
// questions how the files begin.
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { digestOfFile, fileMark } from '#files';
import { EspalierError, type engineV1 } from '#protocol';

const CONFIG = 'config.json';
const INDEX = 'model.safetensors.index.json';
const SAFETENSORS = 'model.safetensors';
const GGUF = 'model.gguf';
/** Files beside the weights: of the tokenizer, of generation, and licences, which go into exports. */
const BESIDE = /^[\w.+-]+\.(json|txt|model|jinja)$|^(LICENSE|NOTICE|USE_POLICY)[\w.]*$/;
const BESIDE_BYTES_MAX = 256 << 20;
/** The longest index that an engine reads, and the longest beginning that is sent of a file. */
const HEAD_BYTES_MAX = 32 << 20;
const LENGTH_BYTES = 8;

export interface ModelFile {
  name: string;
  path: string;
  bytes: number;
  /** Changes with the content. */
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

/** By the engine's own rules (core/model/model_weights.cpp). A broken index names none; the engine then says what is wrong with it. */
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

/** Digests of files that were read in the life of this process, for as long as their marks stay. */
export class FileDigests {
  private readonly known = new Map<string, { mark: string; digest: Promise<string> }>();

  async of({ path, mark }: ModelFile): Promise<string> {
    const before = this.known.get(path);
    if (before?.mark === mark) return before.digest;
    const digest = read(path);
    this.known.set(path, { mark, digest });
    digest.catch(() => this.known.delete(path));
    return digest;
  }
}

async function read(path: string): Promise<string> {
  try {
    return await digestOfFile(path);
  } catch (error) {
    throw notFound((error as Error).message, error); // which names the path
  }
}

/** The beginnings of files, as far as shapes and types of the weights take them. */
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
      const header = Number(start.readBigUInt64LE()); // of a damaged file it may be any number
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

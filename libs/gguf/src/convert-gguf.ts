// Makes the folder of a model from a GGUF file, once: config.json, model.safetensors and the tokenizer's files, in a cache under the digest
// of the file. A folder gets its name when all of it is on the disk, so what a killed process leaves is never taken for a model.
import { createHash } from 'node:crypto';
import { existsSync, readlinkSync, type BigIntStats } from 'node:fs';
import { open, rename, rm, symlink, writeFile, type FileHandle } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { clearUnfinishedFiles, fillFrom, makeFolder, openUserFile, ROOM_BYTES, roomIn, strictFileMark, unfinishedName } from '#files';
import { GgufError, invalid } from './gguf-error.js';
import { llama3Rule, modelOfGguf, type ModelTensor } from './gguf-model.js';
import { tokenizerOfGguf } from './gguf-tokenizer.js';
import { readGguf, type Gguf, type GgufTensor } from './read-gguf.js';

export interface ConvertOptions {
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal | undefined;
  /** Is called with the share that is done, and what is being done. */
  onProgress?: (share: number, what: 'reading' | 'converting') => void;
  now?: () => number;
}

/** Changes when the same file would be converted otherwise. */
const RULES = 1;
const UNFINISHED = '.unfinished';
const DIGESTS = 'digests';
/** File systems give their times in steps, of 2 seconds at the most. */
const SETTLED_MS = 3_000;
const READ_BYTES = 1 << 20;
/** The values that are in memory at once, unless one head's rows are more. */
const VALUES_TOGETHER = 1 << 20;

export const isGgufFile = (path: string): boolean => /\.gguf$/i.test(path);

export function ggufCache({ XDG_CACHE_HOME }: NodeJS.ProcessEnv = process.env): string {
  return join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'espalier', 'gguf');
}

/** Returns the folder of the file's model. @throws GgufError, UserFileError, or the signal's reason */
export async function folderOfGguf(path: string, options: ConvertOptions = {}): Promise<string> {
  const cache = ggufCache(options.env);
  await using file = await openUserFile(path);
  const found = await file.stat({ bigint: true });
  const mark = strictFileMark(found);
  const size = Number(found.size);
  const gguf = readGguf(file.fd, size); // a file of another kind is refused before all of it is read
  const digest = knownDigest(cache, mark) ?? (await readDigest(file, found, cache, options));
  const folder = join(cache, `${digest}-${RULES}`);
  if (existsSync(folder)) return folder;
  makeFolder(cache);
  clearUnfinishedFiles(cache, { before: /[0-9a-f]{64}-\d+\./, after: UNFINISHED });
  const made = join(cache, unfinishedName(`${digest}-${RULES}.`, UNFINISHED));
  makeFolder(made);
  try {
    await writeModel(made, gguf, file, options);
    if (strictFileMark(await file.stat({ bigint: true })) !== mark)
      throw new GgufError('GGUF_CHANGED', `${path} was written to while it was read; a file that stays as it is, is allowed`);
    await rename(made, folder).catch((error: unknown) => {
      if (!existsSync(folder)) throw error; // otherwise another process has made it
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    throw new GgufError('GGUF_DISK_FULL', `the disk of ${cache} is full`, { cause: error });
  } finally {
    await rm(made, { recursive: true, force: true }); // is no more there if it got its name
  }
  return folder;
}

/** Digests of files that were read before lie in a folder of the cache, each as the target of a link whose name follows from the mark. */
const placeOf = (cache: string, mark: string): string => join(cache, DIGESTS, createHash('sha256').update(mark).digest('hex'));

function knownDigest(cache: string, mark: string): string | null {
  try {
    const digest = readlinkSync(placeOf(cache, mark));
    return /^[0-9a-f]{64}$/.test(digest) ? digest : null;
  } catch {
    return null; // the file was not read yet
  }
}

/** Reads the digest and keeps it, unless the file has changed so lately that a further change could leave its mark as it is. */
async function readDigest(file: FileHandle, found: BigIntStats, cache: string, options: ConvertOptions): Promise<string> {
  const isSettled = (options.now ?? Date.now)() - Number(found.ctimeMs) >= SETTLED_MS;
  const mark = strictFileMark(found);
  const digest = await digestOf(file, Number(found.size), options);
  if (isSettled && strictFileMark(await file.stat({ bigint: true })) === mark) {
    makeFolder(join(cache, DIGESTS));
    await symlink(digest, placeOf(cache, mark)).catch(() => undefined); // without it the file is only read again
  }
  return digest;
}

const becameShorter = (): GgufError => invalid('the file became shorter while it was read');

async function digestOf(file: FileHandle, size: number, { signal, onProgress }: ConvertOptions): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(READ_BYTES);
  for (let at = 0; at < size;) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, READ_BYTES, at);
    if (bytesRead === 0) throw becameShorter();
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
    onProgress?.(at / size, 'reading');
  }
  return hash.digest('hex');
}

async function writeModel(folder: string, gguf: Gguf, file: FileHandle, options: ConvertOptions): Promise<void> {
  const { config, tensors, rowsOfVocabulary } = modelOfGguf(gguf);
  const tokenizer = tokenizerOfGguf(gguf.metadata, rowsOfVocabulary);
  const factors = gguf.tensors.get('rope_freqs.weight');
  if (factors !== undefined) {
    const divisors = await valuesOf(file, factors, { first: 0, count: factors.shape[0]! });
    config['rope_scaling'] = llama3Rule(gguf.metadata, divisors, config['head_dim'] as number, config['rope_theta'] as number);
  }
  const whole = { ...config, torch_dtype: torchType(tensors), ...tokenizer?.ids };
  await writeTensors(join(folder, 'model.safetensors'), tensors, file, options);
  for (const [name, value] of Object.entries({ 'config.json': whole, ...tokenizer?.files }))
    await writeFile(join(folder, name), `${JSON.stringify(value, null, 2)}\n`, { flush: true });
}

/** Values of quantized tensors are F32, since no shorter type has all of them. Tensors of other types keep theirs. */
const typeOf = ({ from: { type }, add }: ModelTensor): 'F32' | 'F16' | 'BF16' => (add === 0 ? (type.same ?? 'F32') : 'F32');
const bytesOf = (type: 'F32' | 'F16' | 'BF16'): number => (type === 'F32' ? 4 : 2);

/** The name that config.json has for the type of most matrices. */
function torchType(tensors: readonly ModelTensor[]): string {
  const types = new Set(tensors.filter(({ from }) => from.shape.length === 2).map(typeOf));
  return types.size !== 1 || types.has('F32') ? 'float32' : types.has('F16') ? 'float16' : 'bfloat16';
}

async function writeTensors(path: string, tensors: readonly ModelTensor[], file: FileHandle, options: ConvertOptions): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const tensor of tensors) {
    const { shape } = tensor.from;
    const [start, type] = [end, typeOf(tensor)];
    end += shape.reduce((product, width) => product * width, 1) * bytesOf(type);
    header[tensor.name] = { dtype: type, shape, data_offsets: [start, end] };
  }
  const text = Buffer.from(JSON.stringify(header));
  const start = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, ' ');
  start.writeBigUInt64LE(BigInt(start.length - 8));
  text.copy(start, 8);
  const room = await roomIn(join(path, '..'));
  if (start.length + end + ROOM_BYTES > room)
    throw new GgufError(
      'GGUF_DISK_FULL',
      `the model's folder needs ${start.length + end} bytes, and the disk of ${path} has room for ${room}`,
    );
  await using out = await open(path, 'wx');
  await out.writeFile(start);
  let done = 0;
  for (const tensor of tensors) {
    for await (const bytes of rowsOf(file, tensor)) {
      options.signal?.throwIfAborted();
      await out.writeFile(bytes);
      done += bytes.length;
      options.onProgress?.(done / end, 'converting');
    }
  }
  await out.sync();
}

/** Yields the tensor's rows as the folder has them, some at a time. */
async function* rowsOf(file: FileHandle, { from, headRows, add }: ModelTensor): AsyncGenerator<Buffer> {
  const isVector = from.shape.length === 1;
  const all = from.shape.reduce((product, width) => product * width, 1);
  const width = isVector && headRows !== null ? 1 : from.shape.at(-1)!; // a bias has one value in each row of its matrix
  const rows = all / width;
  const unit = headRows ?? 1;
  const together = Math.max(1, Math.floor(VALUES_TOGETHER / (unit * width))) * unit;
  for (let row = 0; row < rows; row += together) {
    const values: Span = { first: row * width, count: Math.min(together, rows - row) * width };
    const bytes = from.type.same !== null && add === 0 ? await storedBytes(file, from, values) : await addedBytes(file, from, values, add);
    yield headRows === null ? bytes : inHalves(bytes, headRows, (bytes.length / values.count) * width);
  }
}

/** Values of a tensor that follow each other; whole blocks. */
interface Span {
  first: number;
  count: number;
}

async function storedBytes(file: FileHandle, { type, at }: GgufTensor, { first, count }: Span): Promise<Buffer> {
  const bytes = Buffer.alloc((count / type.values) * type.bytes);
  const start = at + (first / type.values) * type.bytes;
  await fillFrom(file, bytes, start, becameShorter);
  return bytes;
}

async function valuesOf(file: FileHandle, tensor: GgufTensor, span: Span): Promise<Float32Array<ArrayBuffer>> {
  const { type } = tensor;
  const stored = await storedBytes(file, tensor, span);
  const values = new Float32Array(span.count);
  for (let block = 0; block < span.count / type.values; block++) type.decode(stored, block * type.bytes, values, block * type.values);
  return values;
}

async function addedBytes(file: FileHandle, tensor: GgufTensor, span: Span, add: number): Promise<Buffer> {
  const values = await valuesOf(file, tensor, span);
  if (add !== 0) for (let i = 0; i < values.length; i++) values[i]! += add;
  return Buffer.from(values.buffer);
}

/** Moves each head's rows from llama.cpp's order, which pairs neighbours, to that of two halves. */
function inHalves(bytes: Buffer, headRows: number, rowBytes: number): Buffer {
  const out = Buffer.alloc(bytes.length);
  const half = headRows / 2;
  for (let row = 0; row * rowBytes < bytes.length; row++) {
    const within = row % headRows;
    const from = row - within + 2 * (within % half) + Math.floor(within / half);
    bytes.copy(out, row * rowBytes, from * rowBytes, (from + 1) * rowBytes);
  }
  return out;
}

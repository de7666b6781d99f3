// Which files a data path stands for, in which order, and what they contain, told by content digest.
import { createHash } from 'node:crypto';
import { createReadStream, type BigIntStats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { ModelFilesError } from './model-files.errors.js';

export type DataFormat = 'jsonl' | 'text' | 'parquet';
export interface DataFile {
  path: string;
  format: DataFormat;
  gzip: boolean;
  bytes: number;
  modifiedNs: bigint;
}

const FORMATS: Record<string, DataFormat> = { jsonl: 'jsonl', ndjson: 'jsonl', txt: 'text', text: 'text', parquet: 'parquet' };
export const ALLOWED_FORMATS = '.jsonl or .ndjson with {"text": ...} in each line, .txt, .parquet with a column text, each also as .gz';

export function formatOf(path: string): { format: DataFormat; gzip: boolean } | null {
  const match = /\.([a-z]+)(\.gz)?$/i.exec(path);
  const format = match ? FORMATS[match[1]!.toLowerCase()] : undefined;
  return format === undefined ? null : { format, gzip: match![2] !== undefined };
}

/** One file, or all files of a known format below a folder, sorted by their path inside it (by code unit). */
export async function listDataFiles(dataPath: string): Promise<DataFile[]> {
  const found = await statOrThrow(dataPath);
  if (found.isFile()) {
    const known = formatOf(dataPath);
    if (known === null) throw unknownFormat(`${dataPath} has no known format`, dataPath);
    return [describe(dataPath, known, found)];
  }
  if (!found.isDirectory()) throw unknownFormat(`${dataPath} is neither a file nor a folder`, dataPath);

  const names = (await readFolder(dataPath)).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const files: DataFile[] = [];
  for (const name of names) {
    const known = formatOf(name);
    if (known === null) continue; // a README or a checksum beside the data
    const path = join(dataPath, name);
    const entry = await statOrThrow(path);
    if (entry.isFile()) files.push(describe(path, known, entry));
  }
  if (files.length === 0) throw unknownFormat(`the folder ${dataPath} holds no data file`, dataPath);
  return files;
}

async function readFolder(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true, recursive: true });
    return entries
      .filter((entry) => entry.isFile() || entry.isSymbolicLink())
      .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
      .filter((name) => !name.split('/').some((part) => part.startsWith('.')));
  } catch (error) {
    throw fileError(error, folder);
  }
}

function describe(path: string, known: { format: DataFormat; gzip: boolean }, found: BigIntStats): DataFile {
  return { path, ...known, bytes: Number(found.size), modifiedNs: found.mtimeNs };
}

async function statOrThrow(path: string): Promise<BigIntStats> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    throw fileError(error, path);
  }
}

export function fileError(error: unknown, path: string): unknown {
  if (error instanceof ModelFilesError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new ModelFilesError('DATA_NOT_FOUND', `there is no file or folder ${path}`, { file: path });
  if (code === undefined || !/^E[A-Z]+$/.test(code)) return error;
  return new ModelFilesError('DATA_UNREADABLE', `can't read ${path}: ${message}`, { file: path });
}

function unknownFormat(what: string, file: string): ModelFilesError {
  return new ModelFilesError('DATA_UNSUPPORTED', `${what}; allowed are ${ALLOWED_FORMATS}`, { file });
}

export async function digestOfFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, signal })) hash.update(chunk as Buffer);
  } catch (error) {
    signal?.throwIfAborted();
    throw fileError(error, path);
  }
  return hash.digest('hex');
}

/** The digest was taken before the tokens were made: a file that changed in between would be cached under a wrong name. */
export async function requireUnchanged(files: DataFile[]): Promise<void> {
  for (const file of files) {
    const now = await statOrThrow(file.path);
    if (Number(now.size) !== file.bytes || now.mtimeNs !== file.modifiedNs) {
      throw new ModelFilesError('DATA_CHANGED', `${file.path} was changed while it was read; try again once it is complete`, {
        file: file.path,
      });
    }
  }
}

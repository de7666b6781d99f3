// Finds the files that a data path stands for, in their order, with the digests of their contents.
import type { BigIntStats } from 'node:fs';
import { opendir, stat, type FileHandle } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { digestOfFile, kindOf, openUserFile, UserFileError } from '#files';
import { ModelFilesError } from '../model-files.errors.js';

type TextFormat = 'jsonl' | 'text' | 'parquet' | 'json' | 'csv' | 'tsv';
/** The formats of files that hold tokens. */
type ShardFormat = 'npy' | 'megatron';
type DataFormat = TextFormat | ShardFormat;
export type Packing = 'gzip' | 'zstd';
interface FoundFile {
  path: string;
  packing: Packing | null;
  bytes: number;
  modifiedNs: bigint;
}
export interface TextFile extends FoundFile {
  format: TextFormat;
}
export interface ShardFile extends FoundFile {
  format: ShardFormat;
}
export type DataFile = TextFile | ShardFile;

const FORMATS: Record<string, DataFormat> = {
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  txt: 'text',
  text: 'text',
  parquet: 'parquet',
  json: 'json',
  csv: 'csv',
  tsv: 'tsv',
  npy: 'npy',
  bin: 'megatron',
};
const PACKINGS: Record<string, Packing> = { gz: 'gzip', zst: 'zstd' };
/** The formats that usually only describe the data when they lie in a folder of other data. */
const AMBIGUOUS_FORMATS: DataFormat[] = ['json', 'csv', 'tsv'];
const ALLOWED_FORMATS =
  '.jsonl or .ndjson with {"text": ...} in each line, .json with an array of those, .csv, .tsv or .parquet with a column text, and .txt, ' +
  "each also as .gz or .zst; and tokens as .npy, or as Megatron's .bin with its .idx beside it";

function formatOf(path: string): Pick<DataFile, 'format' | 'packing'> | null {
  const [, ending, packing] = /\.([a-z]+)(?:\.(gz|zst))?$/i.exec(path) ?? [];
  const format = ending === undefined ? undefined : FORMATS[ending.toLowerCase()];
  return format === undefined ? null : { format, packing: PACKINGS[packing?.toLowerCase() ?? ''] ?? null };
}

/** Returns the path of the index that belongs to a .bin file of Megatron. */
export const indexFileOf = (binary: string): string => binary.replace(/\.bin(\.\w+)?$/i, '.idx');

/** Tells whether a file with this name counts as a text. */
export const isDataFile = (name: string): boolean => formatOf(name) !== null;

/** A folder with more entries than this counts as a mistaken path. */
const FOLDER_ENTRIES_MAX = 100_000;
/**
 * The longest search. A busy machine looks through a hundred thousand entries in ten seconds; a slow network, or /proc, may take any time.
 */
const LOOKING_MS = 30_000;

/**
 * Returns the file, or all files of a known format below a folder, sorted by their path in the folder (by code unit). A folder's .json,
 * .csv and .tsv files only count if it holds no other data.
 */
export async function listDataFiles(dataPath: string, signal?: AbortSignal, lookingMs = LOOKING_MS): Promise<DataFile[]> {
  const found = await statOrThrow(dataPath);
  if (!found.isDirectory()) {
    requireRegular(dataPath, found);
    const known = formatOf(dataPath);
    if (known === null) throw unknownFormat(`${dataPath} has no known format`, dataPath);
    return [describe(dataPath, known, found)];
  }

  const names = (await namesBelow(dataPath, performance.now() + lookingMs, signal)).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const files: DataFile[] = [];
  for (const name of names) {
    const known = formatOf(name);
    if (known === null) continue; // for example a README or a checksum beside the data
    if (known.format === 'megatron' && !names.includes(indexFileOf(name))) continue; // other programs have .bin files too
    const path = join(dataPath, name);
    const entry = await statOrThrow(path);
    if (entry.isDirectory()) continue; // a link to a folder
    requireRegular(path, entry);
    files.push(describe(path, known, entry));
  }
  if (files.length === 0) throw unknownFormat(`the folder ${dataPath} holds no data file`, dataPath);
  const surely = files.filter(({ format }) => !AMBIGUOUS_FORMATS.includes(format));
  return surely.length > 0 ? surely : files;
}

/** Returns the names of all files below the folder, relative to it. Hidden files and folders are left out. */
async function namesBelow(folder: string, until: number, signal?: AbortSignal): Promise<string[]> {
  const names: string[] = [];
  const folders = [folder];
  let entries = 0;
  for (let current = folders.pop(); current !== undefined; current = folders.pop()) {
    try {
      for await (const entry of await opendir(current)) {
        signal?.throwIfAborted();
        if (performance.now() > until) {
          throw new ModelFilesError(
            'DATA_TOO_LARGE',
            `the folder ${folder} takes too long to look through; name the files in it, or a smaller one`,
            {
              file: folder,
            },
          );
        }
        if (entry.name.startsWith('.')) continue;
        entries += 1;
        if (entries > FOLDER_ENTRIES_MAX) {
          throw new ModelFilesError('DATA_TOO_LARGE', `the folder ${folder} holds more than ${FOLDER_ENTRIES_MAX} files and folders`, {
            file: folder,
          });
        }
        const path = join(current, entry.name);
        if (entry.isDirectory()) folders.push(path);
        else names.push(relative(folder, path));
      }
    } catch (error) {
      signal?.throwIfAborted();
      throw fileError(error, current);
    }
  }
  return names;
}

function requireRegular(path: string, found: BigIntStats): void {
  if (found.isFile()) return;
  throw new ModelFilesError('FILE_NOT_REGULAR', `${path} is ${kindOf(found)}; a regular file, a folder, or a link to one is allowed`, {
    file: path,
  });
}

function describe(path: string, known: Pick<DataFile, 'format' | 'packing'>, found: BigIntStats): DataFile {
  return { path, ...known, bytes: Number(found.size), modifiedNs: found.mtimeNs };
}

async function statOrThrow(path: string): Promise<BigIntStats> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    throw fileError(error, path);
  }
}

export async function openDataFile(path: string): Promise<FileHandle> {
  try {
    return await openUserFile(path);
  } catch (error) {
    throw fileError(error, path);
  }
}

export function fileError(error: unknown, path: string): unknown {
  if (error instanceof ModelFilesError) return error;
  if (error instanceof UserFileError) {
    const codes = { FILE_NOT_FOUND: 'DATA_NOT_FOUND', FILE_UNUSABLE: 'DATA_UNREADABLE' } as const;
    const code = error.code === 'FILE_NOT_FOUND' || error.code === 'FILE_UNUSABLE' ? codes[error.code] : error.code;
    return new ModelFilesError(code, error.message, { file: path });
  }
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new ModelFilesError('DATA_NOT_FOUND', `there is no file or folder ${path}`, { file: path });
  if (code === undefined || !/^E[A-Z]+$/.test(code)) return error;
  return new ModelFilesError('DATA_UNREADABLE', `can't read ${path}: ${message}`, { file: path });
}

function unknownFormat(what: string, file: string): ModelFilesError {
  return new ModelFilesError('DATA_UNSUPPORTED', `${what}; allowed are ${ALLOWED_FORMATS}`, { file });
}

export async function digestOfData(path: string, signal?: AbortSignal): Promise<string> {
  try {
    return await digestOfFile(path, signal);
  } catch (error) {
    signal?.throwIfAborted();
    throw fileError(error, path);
  }
}

/**
 * Checks that the files are still the ones whose digests were taken. Otherwise the tokens of a changed file would be stored under a wrong
 * name.
 */
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

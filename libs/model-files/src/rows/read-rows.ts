// Reads rows with any columns from JSON Lines and Parquet files, for data sets of questions. All rows are in memory together.
import { basename } from 'node:path';
import { listDataFiles, requireUnchanged, type DataFile } from './data-files.js';
import { malformed, ModelFilesError } from '../model-files.errors.js';
import { jsonOfLine, readLines } from './read-documents.js';
import { readParquetRows } from './read-parquet.js';
import { UnpackBudget } from './unpack-budget.js';

export type Row = Record<string, unknown>;
export interface LocatedRow {
  row: Row;
  file: string;
  /** The line, or the row of a Parquet file, counted from 1. */
  line: number;
}

/** The largest set. Sets of questions have some dozen megabytes, and their rows are in memory at once. */
const SET_BYTES_MAX = 512 << 20;
/** Parquet in gzip is packed twice, so its bytes count twice. */
const UNPACKED_BYTES_MAX = 2 * SET_BYTES_MAX;

/**
 * Returns all rows of a split. They come from `SPLIT.jsonl`, `SPLIT.parquet` or `SPLIT-00000-of-00001.parquet`, each also gzipped, in the
 * folder or below it. Without such a file there are no rows; `found` names the data files that are there.
 */
export async function readSplit(
  folder: string,
  split: string,
  signal?: AbortSignal,
): Promise<{ rows: LocatedRow[]; found: string[]; files: string[] }> {
  const all = await listDataFiles(folder, signal);
  const rowFiles = all.filter(({ format }) => format === 'jsonl' || format === 'parquet');
  const files = rowFiles.filter(({ path }) => basename(path).startsWith(`${split}.`) || basename(path).startsWith(`${split}-`));
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  if (bytes > SET_BYTES_MAX)
    throw new ModelFilesError('DATA_TOO_LARGE', `the ${split} files in ${folder} have ${bytes} bytes; at most ${SET_BYTES_MAX} are read`, {
      file: folder,
    });
  const rows: LocatedRow[] = [];
  const budget = new UnpackBudget(UNPACKED_BYTES_MAX);
  for (const file of files) {
    signal?.throwIfAborted();
    for await (const row of file.format === 'parquet' ? parquetRows(file, budget) : jsonRows(file, budget)) rows.push(row);
  }
  await requireUnchanged(files);
  return { rows, found: rowFiles.map(({ path }) => basename(path)), files: files.map(({ path }) => path) };
}

async function* jsonRows(file: DataFile, budget: UnpackBudget): AsyncGenerator<LocatedRow> {
  for await (const { bytes, line } of readLines(file, budget, () => undefined)) {
    const row = jsonOfLine(bytes, file.path, line);
    if (row === undefined) continue;
    if (row === null || typeof row !== 'object' || Array.isArray(row))
      throw malformed(file.path, line, 'not a JSON object; {"column": value, ...} is allowed');
    yield { row: row as Row, file: file.path, line };
  }
}

async function* parquetRows(file: DataFile, budget: UnpackBudget): AsyncGenerator<LocatedRow> {
  let line = 0;
  for await (const row of readParquetRows(file, budget)) {
    yield { row: plain(row) as Row, file: file.path, line: ++line };
  }
}

/** Converts whole numbers of 64 bits to plain numbers, as JSON has them. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object' || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, plain(part)]));
}

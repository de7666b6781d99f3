// The `text` column of a Parquet file, one row group at a time.
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import {
  asyncBufferFromFile,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type AsyncBuffer,
  type FileMetaData,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { fileError, type DataFile } from './data-files.js';
import { malformed, ModelFilesError } from './model-files.errors.js';
import { readBytes, type BytesRead, type SourceDocument } from './read-bytes.js';

/** Rows asked for at once: enough to be quick, few enough that the strings of one request stay small. */
const ROWS_AT_ONCE = 1000;

export async function* readParquet(file: DataFile, onBytes: BytesRead): AsyncGenerator<SourceDocument> {
  if (!file.gzip) {
    yield* readRows(file.path, file.path, file.bytes, onBytes);
    return;
  }
  // Parquet is read from its end, a gzip stream is not: it is unpacked beside the temporary files first.
  const folder = await mkdtemp(join(tmpdir(), 'espalier-parquet-'));
  try {
    const unpacked = join(folder, 'data.parquet');
    await pipeline(readBytes(file, onBytes), createWriteStream(unpacked));
    yield* readRows(unpacked, file.path, 0, onBytes);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function* readRows(path: string, name: string, countedBytes: number, onBytes: BytesRead): AsyncGenerator<SourceDocument> {
  const { buffer, metadata } = await openParquet(path, name);
  const rowsTotal = Number(metadata.num_rows);
  let row = 0;
  for (const group of metadata.row_groups) {
    const groupEnd = row + Number(group.num_rows);
    while (row < groupEnd) {
      const end = Math.min(row + ROWS_AT_ONCE, groupEnd);
      for (const value of await readTexts(buffer, metadata, row, end, name)) {
        row++;
        if (typeof value !== 'string')
          throw malformed(name, row, `"text" is ${value == null ? 'null' : `a ${typeof value}`}; a string is allowed`);
        yield { text: value, file: name, line: row };
      }
    }
    onBytes(countedBytes * (Number(group.num_rows) / Math.max(rowsTotal, 1)));
  }
}

async function openParquet(path: string, name: string): Promise<{ buffer: AsyncBuffer; metadata: FileMetaData }> {
  try {
    const buffer = await asyncBufferFromFile(path);
    const metadata = await parquetMetadataAsync(buffer);
    const columns = parquetSchema(metadata).children.map((column) => column.element.name);
    if (!columns.includes('text')) throw malformed(name, undefined, `no column "text" (there are: ${columns.join(', ') || 'none'})`);
    return { buffer, metadata };
  } catch (error) {
    throw parquetError(error, name);
  }
}

async function readTexts(file: AsyncBuffer, metadata: FileMetaData, rowStart: number, rowEnd: number, name: string): Promise<unknown[]> {
  try {
    const rows = await parquetReadObjects({ file, metadata, columns: ['text'], rowStart, rowEnd, compressors });
    if (rows.length !== rowEnd - rowStart) throw new Error(`rows ${rowStart + 1} to ${rowEnd} are incomplete`);
    return rows.map((row) => (row as { text?: unknown }).text);
  } catch (error) {
    throw parquetError(error, name);
  }
}

function parquetError(error: unknown, name: string): unknown {
  if (error instanceof ModelFilesError) return error;
  const located = fileError(error, name);
  if (located instanceof ModelFilesError) return located;
  return malformed(name, undefined, `damaged or incomplete Parquet (${(error as Error).message})`);
}

// The text column of a Parquet file, page by page; or all of its rows at once.
import { mkdtemp, open, rm, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetMetadataAsync, parquetReadObjects, parquetSchema, type AsyncBuffer, type FileMetaData } from 'hyparquet';
import { fileError, openDataFile, type DataFile } from './data-files.js';
import type { DocumentRows } from './document-row.js';
import { malformed, ModelFilesError } from './model-files.errors.js';
import { checkPages, compressors, readColumnPages, readSlice, type ByteSource } from './parquet-pages.js';
import { readBytes, type BytesRead, type SourceDocument } from './read-bytes.js';
import type { UnpackBudget } from './unpack-budget.js';

const FOOTER_BYTES_MAX = 256 << 20;

export async function* readParquet(
  file: DataFile,
  rows: DocumentRows,
  budget: UnpackBudget,
  onBytes: BytesRead,
): AsyncGenerator<SourceDocument> {
  yield* opened(file, budget, onBytes, (source, countedBytes) => readRows(source, file, rows, countedBytes, budget, onBytes));
}

/** Whole rows, of all columns, nested ones too. They are in memory together. */
export async function* readParquetRows(file: DataFile, budget: UnpackBudget): AsyncGenerator<Record<string, unknown>> {
  yield* opened(
    file,
    budget,
    () => undefined,
    async function* (source) {
      try {
        const metadata = await readMetadata(source);
        await checkPages(source, metadata, budget, file.path);
        yield* await parquetReadObjects({ file: bufferOf(source), metadata, compressors });
      } catch (error) {
        throw parquetError(error, file.path);
      }
    },
  );
}

async function* opened<T>(
  file: DataFile,
  budget: UnpackBudget,
  onBytes: BytesRead,
  /** @param countedBytes those of the file that onBytes has not heard of yet */
  read: (source: ByteSource, countedBytes: number) => AsyncGenerator<T>,
): AsyncGenerator<T> {
  if (!file.gzip) {
    const handle = await openDataFile(file.path);
    try {
      budget.read(file.bytes);
      yield* read({ file: handle, bytes: (await handle.stat()).size }, file.bytes);
    } finally {
      await handle.close();
    }
    return;
  }
  // Parquet is read from its end, a gzip stream is not: it is unpacked into a temporary file first.
  const unpacked = await namelessFile();
  try {
    let bytes = 0;
    for await (const chunk of readBytes(file, budget, onBytes)) {
      for (let written = 0; written < chunk.byteLength;) {
        written += (await unpacked.write(chunk, written, chunk.byteLength - written, bytes + written)).bytesWritten;
      }
      bytes += chunk.byteLength;
    }
    yield* read({ file: unpacked, bytes }, 0);
  } finally {
    await unpacked.close();
  }
}

/** Gone with its handle, also when the thread ends in the middle. */
async function namelessFile(): Promise<FileHandle> {
  const folder = await mkdtemp(join(tmpdir(), 'espalier-parquet-'));
  try {
    return await open(join(folder, 'data.parquet'), 'wx+', 0o600);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function* readRows(
  source: ByteSource,
  { path: name }: DataFile,
  rows: DocumentRows,
  countedBytes: number,
  budget: UnpackBudget,
  onBytes: BytesRead,
): AsyncGenerator<SourceDocument> {
  const metadata = await openParquet(source, name, rows);
  const rowsTotal = Number(metadata.num_rows);
  let row = 0;
  for (let group = 0; group < metadata.row_groups.length; group += 1) {
    try {
      for await (const values of readColumnPages(source, metadata, group, rows.column, budget, name)) {
        budget.unpack(textLength(values), name); // a value of a dictionary comes as often as its number does
        for (const value of values as Iterable<unknown>) {
          row += 1;
          if (typeof value !== 'string')
            throw malformed(name, row, `"${rows.column}" is ${value == null ? 'null' : `a ${typeof value}`}; a string is allowed`);
          yield { text: value, file: name, line: row };
        }
        onBytes(countedBytes * (values.length / Math.max(rowsTotal, 1)));
      }
    } catch (error) {
      throw parquetError(error, name);
    }
  }
  if (row !== rowsTotal) throw malformed(name, undefined, `damaged Parquet (it says that it has ${rowsTotal} rows, and has ${row})`);
}

function textLength(values: ArrayLike<unknown>): number {
  let length = 0;
  for (let index = 0; index < values.length; index += 1) length += (values[index] as string | null)?.length ?? 0;
  return length;
}

async function openParquet(source: ByteSource, name: string, rows: DocumentRows): Promise<FileMetaData> {
  try {
    const metadata = await readMetadata(source);
    const columns = parquetSchema(metadata).children.map((column) => column.element.name);
    if (!columns.includes(rows.column)) throw malformed(name, undefined, rows.missing(columns, 'column'));
    return metadata;
  } catch (error) {
    throw parquetError(error, name);
  }
}

async function readMetadata(source: ByteSource): Promise<FileMetaData> {
  const footer = new DataView((await readSlice(source, Math.max(source.bytes - 8, 0), source.bytes)).buffer);
  if (footer.byteLength === 8 && footer.getUint32(0, true) > FOOTER_BYTES_MAX)
    throw new Error(`its footer says that it has ${footer.getUint32(0, true)} bytes; at most ${FOOTER_BYTES_MAX} are allowed`);
  return parquetMetadataAsync(bufferOf(source));
}

function bufferOf(source: ByteSource): AsyncBuffer {
  return {
    byteLength: source.bytes,
    slice: async (start, end) => (await readSlice(source, start, end ?? source.bytes)).buffer,
  };
}

function parquetError(error: unknown, name: string): unknown {
  if (error instanceof ModelFilesError) return error;
  const located = fileError(error, name);
  if (located instanceof ModelFilesError) return located;
  return malformed(name, undefined, `damaged or incomplete Parquet (${(error as Error).message})`);
}

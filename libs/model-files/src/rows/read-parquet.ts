// Reads the text column of a Parquet file page by page, or whole rows group by group.
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { inTemporaryFolder } from '#files';
import { parquetMetadataAsync, parquetReadObjects, parquetSchema, type AsyncBuffer, type FileMetaData } from 'hyparquet';
import { fileError, openDataFile, type DataFile } from './data-files.js';
import type { DocumentRows } from './document-row.js';
import { malformed, ModelFilesError } from '../model-files.errors.js';
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

/** Yields whole rows with all columns, nested ones too. All rows of a group are in memory at once. */
export async function* readParquetRows(file: DataFile, budget: UnpackBudget): AsyncGenerator<Record<string, unknown>> {
  yield* opened(
    file,
    budget,
    () => undefined,
    async function* (source) {
      try {
        const metadata = await readMetadata(source);
        await checkPages(source, metadata, budget, file.path);
        for await (const { rows } of rowGroups(source, metadata, budget, file.path)) yield* rows;
      } catch (error) {
        throw parquetError(error, file.path);
      }
    },
  );
}

/** @param columns the columns to read; undefined: all columns */
async function* rowGroups(
  source: ByteSource,
  metadata: FileMetaData,
  budget: UnpackBudget,
  name: string,
  columns?: readonly string[],
): AsyncGenerator<{ rows: Record<string, unknown>[] }> {
  let rowEnd = 0;
  for (const group of metadata.row_groups) {
    const rowStart = rowEnd;
    rowEnd += Number(group.num_rows);
    if (rowEnd === rowStart) continue;
    const some = columns === undefined ? {} : { columns: [...columns] };
    const rows = await parquetReadObjects({ file: bufferOf(source), metadata, compressors, rowStart, rowEnd, ...some });
    // A value of a dictionary is unpacked as often as rows refer to it.
    for (const row of rows) budget.unpack(lengthOfTexts(row), name);
    yield { rows };
  }
}

function lengthOfTexts(value: unknown): number {
  if (typeof value === 'string') return value.length;
  if (value === null || typeof value !== 'object' || ArrayBuffer.isView(value)) return 0;
  return Object.values(value).reduce<number>((sum, part) => sum + lengthOfTexts(part), 0);
}

async function* opened<T>(
  file: DataFile,
  budget: UnpackBudget,
  onBytes: BytesRead,
  /** @param countedBytes the number of the file's bytes that onBytes has not been told of yet */
  read: (source: ByteSource, countedBytes: number) => AsyncGenerator<T>,
): AsyncGenerator<T> {
  if (file.packing === null) {
    const handle = await openDataFile(file.path);
    try {
      budget.read(file.bytes);
      yield* read({ file: handle, bytes: (await handle.stat()).size }, file.bytes);
    } finally {
      await handle.close();
    }
    return;
  }
  // A Parquet file is read from its end, but a packed stream can't be. So it is unpacked into a temporary file first.
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

/** A temporary file without a name. It is gone when its handle is closed, also if the thread ends early. */
function namelessFile(): Promise<FileHandle> {
  return inTemporaryFolder('parquet', (folder) => open(join(folder, 'data.parquet'), 'wx+', 0o600));
}

async function* readRows(
  source: ByteSource,
  { path: name }: DataFile,
  rows: DocumentRows,
  countedBytes: number,
  budget: UnpackBudget,
  onBytes: BytesRead,
): AsyncGenerator<SourceDocument> {
  const { metadata, columns } = await openParquet(source, name, rows);
  const rowsTotal = Number(metadata.num_rows);
  const reportRows = (count: number): void => onBytes(countedBytes * (count / Math.max(rowsTotal, 1)));
  let row = 0;
  try {
    const [column, ...others] = columns;
    if (column !== undefined && others.length === 0 && !isNested(metadata, column)) {
      for await (const values of textPages(source, metadata, column, budget, name)) {
        // A column of JSON holds lists if its rows are conversations.
        for (const value of values as Iterable<unknown>) {
          row += 1;
          if (typeof value !== 'string' && !Array.isArray(value))
            throw malformed(name, row, `"${column}" is ${value == null ? 'null' : `a ${typeof value}`}; a string is allowed`);
          yield rows.document({ [column]: value }, name, row);
        }
        reportRows(values.length);
      }
    } else {
      await checkPages(source, metadata, budget, name);
      for await (const { rows: group } of rowGroups(source, metadata, budget, name, columns)) {
        for (const one of group) yield rows.document(one, name, ++row);
        reportRows(group.length);
      }
    }
  } catch (error) {
    throw parquetError(error, name);
  }
  if (row !== rowsTotal) throw malformed(name, undefined, `damaged Parquet (it says that it has ${rowsTotal} rows, and has ${row})`);
}

async function* textPages(source: ByteSource, metadata: FileMetaData, column: string, budget: UnpackBudget, name: string) {
  for (let group = 0; group < metadata.row_groups.length; group += 1) {
    for await (const values of readColumnPages(source, metadata, group, column, budget, name)) {
      budget.unpack(textLength(values), name); // a value of a dictionary is unpacked as often as rows refer to it
      yield values;
    }
  }
}

function isNested(metadata: FileMetaData, column: string): boolean {
  const found = parquetSchema(metadata).children.find(({ element }) => element.name === column);
  return found !== undefined && found.children.length > 0;
}

function textLength(values: ArrayLike<unknown>): number {
  let length = 0;
  for (let index = 0; index < values.length; index += 1) length += lengthOfTexts(values[index]);
  return length;
}

/** Reads the metadata and finds the columns that make a document. The other columns are not read. */
async function openParquet(
  source: ByteSource,
  name: string,
  rows: DocumentRows,
): Promise<{ metadata: FileMetaData; columns: readonly string[] }> {
  try {
    const metadata = await readMetadata(source);
    const names = parquetSchema(metadata).children.map((column) => column.element.name);
    const columns = rows.columns(names);
    if (columns === null) throw malformed(name, undefined, rows.missing(names, 'column'));
    return { metadata, columns };
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

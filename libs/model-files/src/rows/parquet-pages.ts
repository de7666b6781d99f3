// Reads the pages of one column of a Parquet file one after the other, so memory holds one page, however large a row group is. All sizes
// and counts in a file may be wrong, so each is compared with the limits, and with what is left, before memory is allocated for it.
import type { FileHandle } from 'node:fs/promises';
import { parquetSchema, type FileMetaData } from 'hyparquet';
import { compressors as allCompressors, decompressZstd } from 'hyparquet-compressors';
import { parquetHeader, readPage } from 'hyparquet/src/column.js';
import { convert, DEFAULT_PARSERS } from 'hyparquet/src/convert.js';
import { decompressPage } from 'hyparquet/src/datapage.js';
import { deltaBinaryUnpack } from 'hyparquet/src/delta.js';
import { getMaxDefinitionLevel, getTreePath, isFlatColumn } from 'hyparquet/src/schema.js';
import { readVarInt } from 'hyparquet/src/thrift.js';
import { fillFrom } from '#files';
import type { UnpackBudget } from './unpack-budget.js';

export interface ByteSource {
  file: FileHandle;
  bytes: number;
}

/** The largest page. Writers make pages of about a megabyte, but one value may take a whole page. */
const PAGE_BYTES_MAX = 256 << 20;
const PAGE_VALUES_MAX = 1 << 24;
/** The sizes in which a header is read. A header holds the smallest and the largest value of its page, so its size has no fixed limit. */
const HEADER_BYTES = [1 << 14, 1 << 20, 1 << 26];

/** Unpackers that are limited to the size that the page states. The library's own Zstandard would unpack all that a frame holds. */
export const compressors: typeof allCompressors = {
  ...allCompressors,
  ZSTD: (input, length) => decompressZstd(input, new Uint8Array(length)),
};

type PageHeader = ReturnType<typeof parquetHeader>;
type ColumnDecoder = Parameters<typeof readPage>[2];
type Values = NonNullable<ReturnType<typeof readPage>['data']>;

export async function readSlice({ file, bytes }: ByteSource, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
  if (!(start >= 0 && start <= end && end <= bytes)) throw new Error(`bytes ${start} to ${end} are asked for, there are ${bytes}`);
  const slice = new Uint8Array(end - start);
  await fillFrom(file, slice, start, (endsAt) => new Error(`the file ends at byte ${endsAt}`));
  return slice;
}

/** @param group the index of the row group @throws Error that says what is wrong with the file, or the budget's error */
export async function* readColumnPages(
  source: ByteSource,
  metadata: FileMetaData,
  group: number,
  column: string,
  budget: Pick<UnpackBudget, 'unpack'>,
  name: string,
): AsyncGenerator<Values> {
  const rowGroup = metadata.row_groups[group]!;
  const chunk = rowGroup.columns.find(({ meta_data: data }) => data?.path_in_schema[0] === column)?.meta_data;
  if (chunk === undefined) throw new Error(`row group ${group} lacks the column ${column}`);
  const schemaPath = getTreePath(parquetSchema(metadata), chunk.path_in_schema);
  if (!isFlatColumn(schemaPath))
    throw new Error(`the column ${column} is nested; a column of strings, or of messages of a conversation, is allowed`);
  const element = schemaPath[1]!.element;
  const decoder: ColumnDecoder = {
    pathInSchema: chunk.path_in_schema,
    element,
    schemaPath,
    ...chunk,
    parsers: DEFAULT_PARSERS,
    compressors,
  };

  const first = chunk.dictionary_page_offset || chunk.data_page_offset;
  let offset = Number(first < chunk.data_page_offset ? first : chunk.data_page_offset);
  const end = offset + Number(chunk.total_compressed_size);
  let rowsLeft = Number(rowGroup.num_rows);
  let dictionary: Values | undefined;
  while (rowsLeft > 0) {
    const { header, bytes } = await readHeader(source, offset, end);
    offset += bytes;
    checkSizes(header, end - offset);
    const count = checkValues(header, rowsLeft);
    budget.unpack(header.uncompressed_page_size, name);
    const page = await readSlice(source, offset, offset + header.compressed_page_size);
    offset += header.compressed_page_size;
    const longest = deltaTextBytes(page, header, decoder);
    if (longest > 0) budget.unpack(longest, name);
    const { data } = readPage(readerOf(page), header, decoder, dictionary, undefined, 0);
    if (header.type === 'DICTIONARY_PAGE') {
      dictionary = data && convert(data, decoder);
      continue;
    }
    if (data?.length !== count) throw new Error(`a page of ${count} values holds ${data?.length ?? 0}`);
    yield data;
    rowsLeft -= count;
  }
}

/**
 * Walks over the pages of all columns, nested ones too, and compares their stated sizes with the limits. The library trusts these sizes,
 * and can read the file safely after this check. @throws Error that says what is wrong with the file, or the budget's error
 */
export async function checkPages(source: ByteSource, metadata: FileMetaData, budget: Pick<UnpackBudget, 'unpack'>, name: string) {
  for (const { columns } of metadata.row_groups) {
    for (const { meta_data: chunk } of columns) {
      if (chunk === undefined) throw new Error('a column says nothing of itself');
      const first = chunk.dictionary_page_offset || chunk.data_page_offset;
      let offset = Number(first < chunk.data_page_offset ? first : chunk.data_page_offset);
      const end = offset + Number(chunk.total_compressed_size);
      let valuesLeft = Number(chunk.num_values);
      while (valuesLeft > 0) {
        const { header, bytes } = await readHeader(source, offset, end);
        offset += bytes;
        checkSizes(header, end - offset);
        const count = checkValues(header, valuesLeft);
        budget.unpack(header.uncompressed_page_size + count * POINTER_BYTES, name);
        if ((header.data_page_header_v2 ?? header.data_page_header)?.encoding === 'DELTA_BYTE_ARRAY')
          throw new Error(
            `the column ${chunk.path_in_schema.join('.')} is encoded as DELTA_BYTE_ARRAY, which is read of a text column only`,
          );
        offset += header.compressed_page_size;
        if (header.type !== 'DICTIONARY_PAGE') valuesLeft -= count;
      }
    }
  }
}
/** The bytes that each value counts for at least, since a repeated value takes no byte in the file. */
const POINTER_BYTES = 8;

function readerOf(bytes: Uint8Array): { view: DataView; offset: number } {
  return { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 };
}

async function readHeader(source: ByteSource, offset: number, end: number): Promise<{ header: PageHeader; bytes: number }> {
  for (const size of HEADER_BYTES) {
    const reader = readerOf(await readSlice(source, offset, Math.min(offset + size, end)));
    try {
      return { header: parquetHeader(reader), bytes: reader.offset };
    } catch (error) {
      if (offset + size >= end || size === HEADER_BYTES.at(-1)) throw error; // the header was complete, so it is damaged
    }
  }
  throw new Error('unreachable');
}

function atMost(value: unknown, max: number, what: string): number {
  if (typeof value === 'number' && value >= 0 && value <= max) return value;
  throw new Error(`a page says that it has ${String(value)} ${what}; at most ${max} can be`);
}

function checkSizes(header: PageHeader, bytesLeft: number): void {
  atMost(header.compressed_page_size, Math.min(bytesLeft, PAGE_BYTES_MAX), 'packed bytes');
  atMost(header.uncompressed_page_size, PAGE_BYTES_MAX, 'bytes');
  const v2 = header.data_page_header_v2;
  if (v2 === undefined) return;
  const levels = [v2.repetition_levels_byte_length, v2.definition_levels_byte_length];
  levels.forEach((bytes) => atMost(bytes, header.compressed_page_size, 'bytes of levels'));
  atMost(levels[0]! + levels[1]!, Math.min(header.compressed_page_size, header.uncompressed_page_size), 'bytes of levels');
}

/** Returns the number of values of a data page. The column is flat, so this is the number of rows too. */
function checkValues(header: PageHeader, rowsLeft: number): number {
  const v2 = header.data_page_header_v2;
  const dictionary = header.type === 'DICTIONARY_PAGE';
  const count = (dictionary ? header.dictionary_page_header : (header.data_page_header ?? v2))?.num_values;
  if (v2 !== undefined) atMost(v2.num_nulls, v2.num_values, 'nulls');
  return atMost(count, Math.min(PAGE_VALUES_MAX, dictionary ? Infinity : rowsLeft), 'values');
}

/** Returns the bytes that this encoding repeats: a value may begin like the value before it, without a byte of its own. */
function deltaTextBytes(page: Uint8Array, header: PageHeader, { schemaPath, codec, ...decoder }: ColumnDecoder): number {
  const v2 = header.data_page_header_v2;
  const data = v2 ?? header.data_page_header;
  if (data?.encoding !== 'DELTA_BYTE_ARRAY') return 0;
  const levels = v2 === undefined ? 0 : v2.repetition_levels_byte_length + v2.definition_levels_byte_length;
  const packed = page.subarray(levels);
  const plain =
    v2?.is_compressed === false ? packed : decompressPage(packed, header.uncompressed_page_size - levels, codec, decoder.compressors);
  const reader = readerOf(plain);
  if (v2 === undefined && getMaxDefinitionLevel(schemaPath) > 0) reader.offset = 4 + reader.view.getUint32(0, true);
  const start = reader.offset;
  for (let part = 0; part < 2; part += 1) readVarInt(reader); // the block size, and the miniblocks in a block
  const prefixes = new Int32Array(atMost(readVarInt(reader), data.num_values, 'values'));
  reader.offset = start;
  deltaBinaryUnpack(reader, prefixes.length, prefixes);
  return prefixes.reduce((sum, bytes) => sum + Math.max(bytes, 0), 0);
}

// Reads corpora that are tokens already: an array of numpy (.npy), or Megatron's .bin with its .idx beside it. The ids are used unchanged.
import { userFileChunks } from '#files';
import { fileError, indexFileOf, type DataFile, type ShardFile } from '../rows/data-files.js';
import { malformed, ModelFilesError } from '../model-files.errors.js';
import { readBytes, type BytesRead } from '../rows/read-bytes.js';
import type { UnpackBudget } from '../rows/unpack-budget.js';

export const isTokenShard = (file: DataFile): file is ShardFile => file.format === 'npy' || file.format === 'megatron';

/** The name of such files in errors. */
export const TOKENS = 'a file of tokens';

interface Element {
  bytes: number;
  read: (view: DataView, offset: number) => number | bigint;
}

/** The types of whole numbers with the lowest byte first, by numpy's names. */
const ELEMENTS: Record<string, Element> = {
  u1: { bytes: 1, read: (view, offset) => view.getUint8(offset) },
  i1: { bytes: 1, read: (view, offset) => view.getInt8(offset) },
  u2: { bytes: 2, read: (view, offset) => view.getUint16(offset, true) },
  i2: { bytes: 2, read: (view, offset) => view.getInt16(offset, true) },
  u4: { bytes: 4, read: (view, offset) => view.getUint32(offset, true) },
  i4: { bytes: 4, read: (view, offset) => view.getInt32(offset, true) },
  u8: { bytes: 8, read: (view, offset) => view.getBigUint64(offset, true) },
  i8: { bytes: 8, read: (view, offset) => view.getBigInt64(offset, true) },
};
/** The numbers of the types in Megatron's index; 6 and 7 are floating-point types. */
const MEGATRON_ELEMENTS: Record<number, string> = { 1: 'u1', 2: 'i1', 3: 'i2', 4: 'i4', 5: 'i8', 8: 'u2' };
const ALLOWED_ELEMENTS = 'whole numbers of 8 to 64 bits with the lowest byte first are allowed';

/** Yields the ids of the shard in pieces. @throws ModelFilesError if the file is damaged, or an id is not below `vocabularySize` */
export async function* readTokenShard(
  file: ShardFile,
  vocabularySize: number,
  budget: UnpackBudget,
  onBytes: BytesRead,
): AsyncGenerator<Uint32Array<ArrayBuffer>> {
  const chunks = readBytes(file, budget, onBytes);
  const { element, count, first } = file.format === 'npy' ? await readNumpyHeader(file.path, chunks) : await readIndex(file.path);
  let rest: Buffer = first;
  let ids = 0;
  for (;;) {
    const whole = Math.floor(rest.byteLength / element.bytes);
    if (ids + whole > count) throw malformed(file.path, undefined, `holds more than the ${count} tokens that its header tells of`);
    if (whole > 0) yield idsOf(rest, whole, element, { file: file.path, position: ids, vocabularySize });
    ids += whole;
    rest = rest.subarray(whole * element.bytes);
    const next = await chunks.next();
    if (next.done === true) break;
    rest = rest.byteLength === 0 ? next.value : Buffer.concat([rest, next.value]);
  }
  if (ids < count || rest.byteLength > 0) throw malformed(file.path, undefined, `ends after ${ids} of ${count} tokens`);
}

interface IdsPlace {
  file: string;
  /** The position in the file of the first of these ids. */
  position: number;
  vocabularySize: number;
}

function idsOf(bytes: Buffer, count: number, element: Element, { file, position, vocabularySize }: IdsPlace): Uint32Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const ids = new Uint32Array(count);
  for (let index = 0; index < count; index++) {
    const id = element.read(view, index * element.bytes);
    if (id < 0 || id >= vocabularySize) {
      throw new ModelFilesError(
        'TOKENIZER_MISMATCH',
        `token ${position + index} of ${file} is ${id}; the model's vocab_size is ${vocabularySize}, ` +
          `so ids from 0 to ${vocabularySize - 1} are allowed: the file was made by the tokenizer of another model`,
        { file },
      );
    }
    ids[index] = Number(id);
  }
  return ids;
}

interface ShardHeader {
  element: Element;
  count: number;
  /** The bytes of elements that were read together with the header. */
  first: Buffer;
}

const NUMPY_MAGIC = '\x93NUMPY';
const NUMPY_HEADER_MAX = 1 << 16;

/** Reads the header that https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html describes. */
async function readNumpyHeader(file: string, chunks: AsyncGenerator<Buffer>): Promise<ShardHeader> {
  let read: Buffer = Buffer.alloc(0);
  const require = async (bytes: number): Promise<void> => {
    while (read.byteLength < bytes) {
      const next = await chunks.next();
      if (next.done === true) throw malformed(file, undefined, 'ends within the header of a numpy array');
      read = Buffer.concat([read, next.value]);
    }
  };
  await require(12);
  if (read.toString('latin1', 0, 6) !== NUMPY_MAGIC) throw malformed(file, undefined, 'no array of numpy');
  const [begin, bytes] = read[6] === 1 ? [10, read.readUInt16LE(8)] : [12, read.readUInt32LE(8)];
  if (bytes > NUMPY_HEADER_MAX)
    throw malformed(file, undefined, `the array's header has ${bytes} bytes; at most ${NUMPY_HEADER_MAX} are allowed`);
  await require(begin + bytes);
  const header = read.toString('latin1', begin, begin + bytes);
  const descr = /'descr': *'([^']*)'/.exec(header)?.[1];
  const shape = /'shape': *\(([\d, ]*)\)/.exec(header)?.[1];
  if (descr === undefined || shape === undefined)
    throw malformed(file, undefined, 'the header of the numpy array names no type or no shape');
  const lengths = shape
    .split(',')
    .filter((length) => length.trim() !== '')
    .map(Number);
  const rowsLast = lengths.length > 1 && /'fortran_order': *True/.test(header);
  const element = /^[<|]/.test(descr) ? ELEMENTS[descr.slice(1)] : undefined;
  if (element === undefined) throw malformed(file, undefined, `an array of ${JSON.stringify(descr)}; ${ALLOWED_ELEMENTS}`);
  if (rowsLast) throw malformed(file, undefined, 'an array that lies column by column; row by row (C order) is allowed');
  return { element, count: lengths.reduce((product, length) => product * length, 1), first: read.subarray(begin + bytes) };
}

const INDEX_MAGIC = 'MMIDIDX\0\0';
const INDEX_HEADER_BYTES = 34; // the magic, u64 version, u8 type, u64 number of sequences, u64 number of documents

/** Reads the type of the elements, and the lengths of all sequences, which lie one after the other in the .bin file. */
async function readIndex(binary: string): Promise<ShardHeader> {
  const file = indexFileOf(binary);
  let element: Element | undefined;
  let [left, count] = [0, 0];
  let rest: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of userFileChunks(file)) {
      rest = rest.byteLength === 0 ? chunk : Buffer.concat([rest, chunk]);
      if (element === undefined) {
        if (rest.byteLength < INDEX_HEADER_BYTES) continue;
        [element, left] = indexHeader(rest, file);
        rest = rest.subarray(INDEX_HEADER_BYTES);
      }
      const lengths = Math.min(left, Math.floor(rest.byteLength / 4));
      for (let index = 0; index < lengths; index++) count += rest.readUInt32LE(index * 4);
      left -= lengths;
      rest = rest.subarray(lengths * 4);
      if (left === 0) break;
    }
  } catch (error) {
    throw fileError(error, file);
  }
  if (element === undefined || left > 0) throw malformed(file, undefined, 'ends too early for an index of Megatron');
  return { element, count, first: Buffer.alloc(0) };
}

function indexHeader(bytes: Buffer, file: string): [Element, number] {
  if (bytes.toString('latin1', 0, 9) !== INDEX_MAGIC || bytes.readBigUInt64LE(9) !== 1n)
    throw malformed(file, undefined, 'this is not an index of Megatron in version 1');
  const element = ELEMENTS[MEGATRON_ELEMENTS[bytes[17]!] ?? ''];
  if (element === undefined) throw malformed(file, undefined, `elements of type ${bytes[17]}; ${ALLOWED_ELEMENTS}`);
  return [element, Number(bytes.readBigUInt64LE(18))];
}

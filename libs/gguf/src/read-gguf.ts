// Reads what a GGUF file says before its tensors: metadata, and the tensors' names, shapes, types and places. A file may come from
// anywhere: nothing is allocated by a number of the file before the file is known to have that many bytes, and the limits are far above
// any model's.
import { readSync } from 'node:fs';
import { invalid, quoted, unsupported } from './gguf-error.js';
import { refusedType, TENSOR_TYPES, type TensorType } from './gguf-types.js';

export type GgufValue = number | boolean | string | GgufValue[];

export interface GgufTensor {
  name: string;
  /** The slowest dimension first; one or two. */
  shape: number[];
  type: TensorType;
  /** The place in the file. */
  at: number;
  bytes: number;
}

export interface Gguf {
  metadata: ReadonlyMap<string, GgufValue>;
  tensors: ReadonlyMap<string, GgufTensor>;
}

const HEADER_BYTES_MAX = 256 << 20;
const ELEMENTS_MAX = 1 << 22;
const NAMES_MAX = 1 << 17;
const WIDTH_MAX = 2 ** 31;
const ALIGNMENT = 'general.alignment';
const ALIGNMENT_MAX = 1 << 20;
const WINDOW_BYTES = 1 << 20;
const [STRING, ARRAY] = [8, 9];
/** The bytes that a value of each type has at least. */
const LEAST_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];

/** @throws GgufError */
export function readGguf(file: number, size: number): Gguf {
  const reader = new HeaderReader(file, size);
  if (size < 4 || reader.bytes(4).toString('latin1') !== 'GGUF')
    throw invalid('the file does not begin with GGUF, so it is not a GGUF file');
  const version = reader.u32();
  if (version !== 2 && version !== 3) throw unsupported(versionWords(version));
  const [tensorCount, keyCount] = [reader.count('tensors', 24), reader.count('keys', 13)];
  if (tensorCount > NAMES_MAX || keyCount > NAMES_MAX) throw reader.fail(`counts ${tensorCount} tensors and ${keyCount} keys`);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = reader.text();
    if (metadata.has(key)) throw reader.fail(`has the key ${quoted(key)} twice`);
    metadata.set(key, reader.value(reader.u32()));
  }
  const parts = metadata.get('split.count');
  if (typeof parts === 'number' && parts > 1)
    throw unsupported(`the file is one of ${parts} parts of a model; one whole file is allowed (llama-gguf-split --merge joins them)`);
  const alignment = metadata.get(ALIGNMENT) ?? 32;
  if (typeof alignment !== 'number' || alignment < 1 || alignment > ALIGNMENT_MAX || Math.log2(alignment) % 1 !== 0)
    throw invalid(`${ALIGNMENT} is ${JSON.stringify(alignment).slice(0, 80)}; a power of two up to ${ALIGNMENT_MAX} is allowed`);
  return { metadata, tensors: readTensors(reader, tensorCount, size, alignment) };
}

function versionWords(version: number): string {
  const turned = Buffer.alloc(4);
  turned.writeUInt32BE(version);
  const swapped = turned.readUInt32LE();
  if (swapped <= 3) return 'the file is of a big-endian machine; little-endian files are allowed';
  return `the file has GGUF version ${version}; 2 and 3 are allowed`;
}

/** The tensors lie one after the other in the order of their names, as ggml demands. So none can overlap another or leave the file. */
function readTensors(reader: HeaderReader, count: number, size: number, alignment: number): Map<string, GgufTensor> {
  const padded = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;
  const found: (Omit<GgufTensor, 'at'> & { offset: number })[] = [];
  for (let i = 0; i < count; i++) {
    const name = reader.text();
    const dimensions = reader.u32();
    if (dimensions < 1 || dimensions > 2)
      throw reader.fail(`has the tensor ${quoted(name)} of ${dimensions} dimensions; 1 and 2 are allowed`);
    const shape = Array.from({ length: dimensions }, () => reader.u64()).reverse();
    const number = reader.u32();
    const type = TENSOR_TYPES[number];
    if (type === undefined) throw unsupported(`the tensor ${quoted(name)} ${refusedType(number)}`);
    const values = shape.reduce((product, width) => product * width, 1);
    if (shape.some((width) => width < 1 || width > WIDTH_MAX) || shape.at(-1)! % type.values !== 0)
      throw reader.fail(`has the tensor ${quoted(name)} of ${type.name} with the shape ${shape.join(' x ')}`);
    found.push({ name, shape, type, bytes: (values / type.values) * type.bytes, offset: reader.u64() });
  }
  const start = padded(reader.position);
  const tensors = new Map<string, GgufTensor>();
  let end = 0;
  for (const { offset, ...tensor } of found) {
    const words = `the tensor ${quoted(tensor.name)}`;
    if (tensors.has(tensor.name)) throw invalid(`${words} is there twice`);
    if (offset !== end) throw invalid(`${words} begins at ${offset} of the tensors' bytes, and ${end} is where the one before ends`);
    if (start + offset + tensor.bytes > size)
      throw invalid(`${words} ends at byte ${start + offset + tensor.bytes}, and the file has ${size}: it is cut off`);
    end = padded(offset + tensor.bytes);
    tensors.set(tensor.name, { ...tensor, at: start + offset });
  }
  return tensors;
}

class HeaderReader {
  position = 0;
  private window = Buffer.alloc(0);
  private windowAt = 0;
  private elements = 0;
  private readonly decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  constructor(
    private readonly file: number,
    private readonly size: number,
  ) {}

  fail(what: string): Error {
    return invalid(`the file ${what} (at byte ${this.position} of ${this.size})`);
  }

  bytes(count: number): Buffer {
    if (count > this.size - this.position) throw this.fail(`ends within ${count} bytes that it announces`);
    if (this.position + count > HEADER_BYTES_MAX) throw this.fail(`has more than ${HEADER_BYTES_MAX} bytes of metadata`);
    let from = this.position - this.windowAt;
    if (from + count > this.window.length) {
      this.read(Math.min(Math.max(count, WINDOW_BYTES), this.size - this.position));
      from = 0;
    }
    this.position += count;
    return this.window.subarray(from, from + count);
  }

  private read(bytes: number): void {
    this.window = Buffer.alloc(bytes);
    this.windowAt = this.position;
    for (let done = 0; done < bytes;) {
      const read = readSync(this.file, this.window, done, bytes - done, this.windowAt + done);
      if (read === 0) throw this.fail('became shorter while it was read');
      done += read;
    }
  }

  u32 = (): number => this.bytes(4).readUInt32LE();
  u64 = (): number => Number(this.bytes(8).readBigUInt64LE());

  /** Reads how many things follow, and checks that the file is long enough for them. */
  count(what: string, leastBytes: number): number {
    const count = this.u64();
    if (count * leastBytes > this.size - this.position) throw this.fail(`counts ${count} ${what}, for which it is too short`);
    return count;
  }

  text(): string {
    const bytes = this.bytes(this.u64());
    try {
      return this.decoder.decode(bytes);
    } catch {
      throw this.fail('has a text that is not UTF-8');
    }
  }

  value(type: number): GgufValue {
    if (type === STRING) return this.text();
    if (type === ARRAY) return this.array();
    return this.scalar(type);
  }

  private array(): GgufValue[] {
    const type = this.u32();
    if (type === ARRAY) throw this.fail('has an array of arrays');
    const count = this.count('elements', LEAST_BYTES[type] ?? 1);
    this.elements += count;
    if (this.elements > ELEMENTS_MAX) throw this.fail(`has arrays of more than ${ELEMENTS_MAX} elements`);
    return Array.from({ length: count }, () => this.value(type));
  }

  private scalar(type: number): number | boolean {
    const known = SCALARS[type];
    if (known === undefined) throw this.fail(`has a value of the unknown type ${type}`);
    const [of, bytes] = known;
    return of(this.bytes(bytes));
  }
}

const SCALARS: Readonly<Record<number, [(bytes: Buffer) => number | boolean, number]>> = {
  0: [(bytes) => bytes.readUInt8(), 1],
  1: [(bytes) => bytes.readInt8(), 1],
  2: [(bytes) => bytes.readUInt16LE(), 2],
  3: [(bytes) => bytes.readInt16LE(), 2],
  4: [(bytes) => bytes.readUInt32LE(), 4],
  5: [(bytes) => bytes.readInt32LE(), 4],
  6: [(bytes) => bytes.readFloatLE(), 4],
  7: [(bytes) => bytes[0] !== 0, 1],
  10: [(bytes) => Number(bytes.readBigUInt64LE()), 8],
  11: [(bytes) => Number(bytes.readBigInt64LE()), 8],
  12: [(bytes) => bytes.readDoubleLE(), 8],
};

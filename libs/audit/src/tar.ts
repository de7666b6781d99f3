// The part of tar that a bundle needs: plain files with a fixed owner, mode and time. So equal contents give equal bytes, and a reader can
// demand exactly these bytes. Any tar program can unpack a bundle.
export const TAR_BLOCK = 512;

export function tarHeader(name: string, bytes: number): Buffer {
  if (Buffer.byteLength(name) > 99) throw new RangeError(`the entry name is too long: ${name}`);
  const header = Buffer.alloc(TAR_BLOCK);
  header.write(name, 0, 'utf8');
  header.write('0000644\0', 100, 'latin1');
  header.write('0000000\0', 108, 'latin1');
  header.write('0000000\0', 116, 'latin1');
  header.write(sizeField(bytes), 124, 'latin1');
  header.write('00000000000\0', 136, 'latin1');
  header.write('        ', 148, 'latin1'); // the checksum counts its own field as blanks
  header.write('0', 156, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  const checksum = header.reduce((sum, byte) => sum + byte, 0);
  header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

function sizeField(bytes: number): string {
  const octal = bytes.toString(8);
  if (octal.length > 11) throw new RangeError('an entry of a bundle may have 8 GiB at most');
  return `${octal.padStart(11, '0')}\0`;
}

export function tarPadding(bytes: number): Buffer {
  return Buffer.alloc((TAR_BLOCK - (bytes % TAR_BLOCK)) % TAR_BLOCK);
}

export function* tarEntry(name: string, content: Uint8Array): Iterable<Uint8Array> {
  yield tarHeader(name, content.byteLength);
  if (content.byteLength > 0) yield content;
  yield tarPadding(content.byteLength);
}

export const TAR_END = Buffer.alloc(2 * TAR_BLOCK);

export class TarDamage extends Error {}

export interface TarEntry {
  name: string;
  bytes: number;
  /** Must be read to its end before the next entry is asked for. */
  content: AsyncIterable<Uint8Array>;
}

/** @throws TarDamage at the first byte that tarHeader and tarPadding would not have written */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const reader = new ByteReader(source);
  try {
    yield* entriesOf(reader);
  } finally {
    await reader.close();
  }
}

async function* entriesOf(reader: ByteReader): AsyncGenerator<TarEntry> {
  for (let last = 'the beginning'; ;) {
    const header = await reader.read(TAR_BLOCK, `the header after ${last}`);
    if (header.every((byte) => byte === 0)) break;
    const end = header.indexOf(0);
    const name = header.subarray(0, Math.min(end < 0 ? 99 : end, 99)).toString('utf8');
    const bytes = parseInt(header.subarray(124, 135).toString('latin1'), 8);
    if (!Number.isSafeInteger(bytes) || bytes < 0 || Buffer.compare(header, safeHeader(name, bytes)) !== 0) {
      throw new TarDamage(`the header after ${last} is damaged`);
    }
    yield { name, bytes, content: reader.stream(bytes, name) };
    await reader.finishStream();
    const padding = await reader.read(tarPadding(bytes).byteLength, `the padding of ${name}`);
    if (padding.some((byte) => byte !== 0)) throw new TarDamage(`the padding of ${name} is damaged`);
    last = name;
  }
  const rest = await reader.read(TAR_BLOCK, 'the end');
  if (rest.some((byte) => byte !== 0)) throw new TarDamage('the end is damaged');
  if (!(await reader.atEnd())) throw new TarDamage('there are bytes after the end');
}

function safeHeader(name: string, bytes: number): Buffer {
  try {
    return tarHeader(name, bytes);
  } catch {
    return Buffer.alloc(0);
  }
}

class ByteReader {
  private readonly iterator: AsyncIterator<Uint8Array>;
  private buffer: Buffer = Buffer.alloc(0);
  private left = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.iterator = source[Symbol.asyncIterator]();
  }

  async read(bytes: number, what: string): Promise<Buffer> {
    while (this.buffer.byteLength < bytes) {
      if (!(await this.fill())) throw new TarDamage(`the file ends within ${what}`);
    }
    const taken = this.buffer.subarray(0, bytes);
    this.buffer = this.buffer.subarray(bytes);
    return taken;
  }

  async *stream(bytes: number, what: string): AsyncGenerator<Uint8Array> {
    this.left = bytes;
    while (this.left > 0) {
      if (this.buffer.byteLength === 0 && !(await this.fill())) throw new TarDamage(`the file ends within ${what}`);
      const chunk = this.buffer.subarray(0, this.left);
      this.buffer = this.buffer.subarray(chunk.byteLength);
      this.left -= chunk.byteLength;
      yield chunk;
    }
  }

  async finishStream(): Promise<void> {
    if (this.left > 0) await this.read(this.left, 'an entry');
    this.left = 0;
  }

  async atEnd(): Promise<boolean> {
    return this.buffer.byteLength === 0 && !(await this.fill());
  }

  /** Closes a source that may not have been read to its end, so that its file is closed. */
  async close(): Promise<void> {
    await this.iterator.return?.();
  }

  private async fill(): Promise<boolean> {
    const next = await this.iterator.next();
    if (next.done === true) return false;
    const chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    this.buffer = this.buffer.byteLength === 0 ? chunk : Buffer.concat([this.buffer, chunk]);
    return true;
  }
}

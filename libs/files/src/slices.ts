// A large state is kept in slices: a folder with files, each named by its digest, and a list that names them in their order. The digest of
// the list is that of the state (docs/design/files.md). The engine writes such folders.
import { createHash } from 'node:crypto';
import { open, readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fillFrom } from './fill-from.js';

export const SLICE_LIST = 'list';
export const SLICE_LIST_LEAD = 'espalier slices 1\n';
/** The limit of a slice: systems and programs that count in 32 bits take a file of this size. */
const SLICE_BYTES_MAX = 2 ** 31;
/** A smaller state passes the memory of a process as a whole. */
export const SLICE_BYTES = 2 ** 28;
/** A list of as many slices stands for a state of 200 TiB. */
export const SLICE_LIST_BYTES_MAX = 16 << 20;

export interface Slice {
  digest: string;
  bytes: number;
}

export function encodeSliceList(slices: readonly Slice[]): string {
  return SLICE_LIST_LEAD + slices.map(({ digest, bytes }) => `${digest} ${bytes}\n`).join('');
}

/** null: the text is not a list of slices. */
export function decodeSliceList(text: string): Slice[] | null {
  if (!text.startsWith(SLICE_LIST_LEAD) || !text.endsWith('\n')) return null;
  const slices: Slice[] = [];
  for (const line of text.slice(SLICE_LIST_LEAD.length, -1).split('\n')) {
    const [, digest, bytes] = /^([0-9a-f]{64}) ([1-9]\d{0,9})$/.exec(line) ?? [];
    if (digest === undefined || Number(bytes) > SLICE_BYTES_MAX) return null;
    slices.push({ digest, bytes: Number(bytes) });
  }
  return slices;
}

export function digestOfSlices(slices: readonly Slice[]): string {
  return createHash('sha256').update(encodeSliceList(slices)).digest('hex');
}

export const bytesOfSlices = (slices: readonly Slice[]): number => slices.reduce((sum, { bytes }) => sum + bytes, 0);

/** The slices in a folder; null: the path is no folder of slices that can be read. */
export async function slicesIn(folder: string): Promise<Slice[] | null> {
  const list = join(folder, SLICE_LIST);
  const found = await stat(list).catch(() => null);
  if (found === null || found.size > SLICE_LIST_BYTES_MAX) return null;
  return decodeSliceList(await readFile(list, 'utf8'));
}

/** The bytes of a file, or of all files in a folder. */
export async function bytesAt(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isDirectory()) return found.size;
  const sizes = await Promise.all(
    (await readdir(path)).map((name) =>
      stat(join(path, name)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** The slices that have bytes of the range, each with its own part of the range. */
export function* slicesWithin<S extends Slice>(
  slices: readonly S[],
  from: number,
  to: number,
): Generator<{ slice: S; from: number; to: number }> {
  let begin = 0;
  for (const slice of slices) {
    const end = begin + slice.bytes;
    if (from < end && begin < to) yield { slice, from: Math.max(from, begin) - begin, to: Math.min(to, end) - begin };
    begin = end;
  }
}

/** Makes the digest of a state as its bytes pass: that of the bytes, or of the list of slices where they are more than one slice. */
/** The parts in a row. One part alone is not copied. */
export function joinedBytes<Bytes extends Uint8Array>(parts: readonly Bytes[]): Bytes | Buffer {
  const [first, ...others] = parts;
  return first !== undefined && others.length === 0 ? first : Buffer.concat(parts);
}

export class PassingState {
  private readonly slices: Slice[] = [];
  private hash = createHash('sha256');
  private used = 0;

  constructor(private readonly sliceBytes: number) {}

  pass(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.byteLength;) {
      if (this.used === this.sliceBytes) this.endSlice();
      const part = chunk.subarray(at, at + this.sliceBytes - this.used);
      this.hash.update(part);
      this.used += part.byteLength;
      at += part.byteLength;
    }
  }

  digest(): string {
    this.endSlice();
    const [only, ...others] = this.slices;
    return only !== undefined && others.length === 0 ? only.digest : digestOfSlices(this.slices);
  }

  private endSlice(): void {
    this.slices.push({ digest: this.hash.digest('hex'), bytes: this.used });
    this.hash = createHash('sha256');
    this.used = 0;
  }
}

/** Reads a part of a file. @throws Error where the file ends before */
export async function readPart(path: string, from: number, to: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const part = Buffer.allocUnsafe(to - from);
    await fillFrom(file, part, from, (endsAt) => new Error(`${path} ends at byte ${endsAt}`));
    return part;
  } finally {
    await file.close();
  }
}

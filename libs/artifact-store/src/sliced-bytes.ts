// The bytes of an artifact in slices, read as one.
import { createHash } from 'node:crypto';
import { joinedBytes, slicesWithin, type Slice } from '#files';
import { ArtifactStoreError } from './artifact-store.errors.js';

/**
 * Yields the bytes from an offset on. From offset 0, the digest of each slice is compared.
 * @param read yields the bytes of a slice from an offset on
 */
export async function* openSlices(
  digest: string,
  slices: readonly Slice[],
  offset: number,
  read: (slice: Slice, from: number) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for (const { slice, from } of slicesWithin(slices, offset, Infinity)) {
    const hash = offset === 0 ? createHash('sha256') : null;
    for await (const chunk of read(slice, from)) {
      hash?.update(chunk);
      yield chunk;
    }
    const actual = hash?.digest('hex');
    if (actual !== undefined && actual !== slice.digest)
      throw new ArtifactStoreError('ARTIFACT_CORRUPT', `slice ${slice.digest} of artifact ${digest} has digest ${actual}`, digest);
  }
}

/** @param read resolves to a part of a slice */
export async function rangeOfSlices(
  slices: readonly Slice[],
  offset: number,
  bytes: number,
  read: (slice: Slice, from: number, count: number) => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (const { slice, from, to } of slicesWithin(slices, offset, offset + bytes)) parts.push(await read(slice, from, to - from));
  return joinedBytes(parts);
}

/** Yields the next bytes of the source, as many as are asked for. */
export class PassingBytes {
  private readonly source: AsyncIterator<Uint8Array>;
  private left: Uint8Array = new Uint8Array();

  constructor(source: AsyncIterable<Uint8Array>) {
    this.source = source[Symbol.asyncIterator]();
  }

  async *next(bytes: number): AsyncGenerator<Uint8Array> {
    for (let wanted = bytes; wanted > 0;) {
      if (this.left.byteLength === 0) {
        const next = await this.source.next();
        if (next.done === true) return;
        this.left = next.value;
      }
      const part = this.left.subarray(0, wanted);
      this.left = this.left.subarray(part.byteLength);
      wanted -= part.byteLength;
      if (part.byteLength > 0) yield part;
    }
  }

  /** Tells whether the source has ended. */
  async isOver(): Promise<boolean> {
    if (this.left.byteLength > 0) return false;
    const next = await this.source.next();
    this.left = next.done === true ? this.left : next.value;
    return next.done === true;
  }
}

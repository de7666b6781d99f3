// The bytes of an artifact on their way to a file, and their digest.
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { PutResult } from './artifact-store.js';
import { CHUNK_BYTES } from './read-chunks.js';

/** Closes the file. @param durably the bytes survive a power cut */
export async function writeAll(file: FileHandle, source: AsyncIterable<Uint8Array> | Uint8Array, durably = false): Promise<PutResult> {
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for await (const chunk of source instanceof Uint8Array ? slices(source) : source) {
      hash.update(chunk);
      for (let done = 0; done < chunk.byteLength;) {
        done += (await file.write(chunk, done, chunk.byteLength - done, bytes + done)).bytesWritten;
      }
      bytes += chunk.byteLength;
    }
    if (durably) await file.sync();
  } finally {
    await file.close();
  }
  return { digest: hash.digest('hex'), bytes };
}

/** An error of the caller's own byte source. It may be one of a system call too, on a pipe of the caller's. */
export class SourceError extends Error {}

export async function* ofSource(bytes: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  try {
    yield* bytes;
  } catch (cause) {
    throw new SourceError('the byte source failed', { cause });
  }
}

/** Hashing and writing piece by piece keeps the event loop free between pieces. */
function* slices(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += CHUNK_BYTES) yield bytes.subarray(start, start + CHUNK_BYTES);
}

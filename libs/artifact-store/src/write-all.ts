// Writes the bytes of an artifact to a file and computes their digest.
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { PutResult } from './artifact-store.js';
import { CHUNK_BYTES } from './read-chunks.js';

/** Writes the bytes and closes the file. @param durably whether the bytes must survive a power cut when this resolves */
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

/** An error of the source of the bytes. Its cause may be an error of a system call too, for instance on a pipe that the caller reads. */
export class SourceError extends Error {}

export async function* ofSource(bytes: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  try {
    yield* bytes;
  } catch (cause) {
    throw new SourceError('the bytes to be stored could not be read', { cause });
  }
}

/** Hashing and writing in pieces keeps the event loop free between the pieces. */
function* slices(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += CHUNK_BYTES) yield bytes.subarray(start, start + CHUNK_BYTES);
}

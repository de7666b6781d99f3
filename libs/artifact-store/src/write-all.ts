// Writes the bytes of an artifact to a file and computes their digest.
import { createHash } from 'node:crypto';
import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesOfSlices, digestOfSlices, encodeSliceList, SLICE_LIST, type Slice } from '#files';
import type { PutResult } from './artifact-store.js';
import { ArtifactStoreError } from './artifact-store.errors.js';
import { CHUNK_BYTES } from './read-chunks.js';
import { PassingBytes } from './sliced-bytes.js';
import { syncPath } from './sync-path.js';

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

/** Writes the bytes into a new folder of slices. @throws ArtifactStoreError ARTIFACT_CORRUPT where they are not those of the slices */
export async function writeSlices(folder: string, source: AsyncIterable<Uint8Array>, slices: readonly Slice[]): Promise<PutResult> {
  const digest = digestOfSlices(slices);
  const corrupt = (what: string): ArtifactStoreError => new ArtifactStoreError('ARTIFACT_CORRUPT', `the bytes of a state ${what}`, digest);
  await mkdir(folder, { mode: 0o700 });
  const passing = new PassingBytes(source);
  const names = new Set<string>();
  for (const slice of slices) {
    const path = join(folder, slice.digest);
    // Equal slices are one file.
    const file = await open(path, names.has(slice.digest) ? 'w' : 'wx', 0o600);
    names.add(slice.digest);
    const written = await writeAll(file, passing.next(slice.bytes), true);
    if (written.digest !== slice.digest) throw corrupt(`have a slice with digest ${written.digest}, not ${slice.digest}`);
  }
  if (!(await passing.isOver())) throw corrupt('go on after its last slice');
  await writeAll(await open(join(folder, SLICE_LIST), 'wx', 0o600), Buffer.from(encodeSliceList(slices)), true);
  await syncPath(folder);
  return { digest, bytes: bytesOfSlices(slices) };
}

/** An error of the source of the bytes. Its cause may be an error of a system call too, for instance on a pipe that the caller reads. */
export class SourceError extends Error {}

export async function* ofSource(bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncIterable<Uint8Array> {
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

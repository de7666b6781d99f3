import type { FileHandle } from 'node:fs/promises';
import type { ArtifactCondition } from './artifact-store.js';
import type { ArtifactStoreError } from './artifact-store.errors.js';

export const CHUNK_BYTES = 1 << 20;

/** The bytes of an open file, each piece in memory of its own. */
export async function* readChunks(file: FileHandle, offset = 0, chunkBytes = CHUNK_BYTES): AsyncGenerator<Uint8Array> {
  for (let position = offset; ;) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** The condition of an artifact, by reading its bytes to their end, which checks them. */
export async function conditionOf(bytes: AsyncIterable<Uint8Array>): Promise<ArtifactCondition> {
  try {
    for await (const _ of bytes);
    return 'ok';
  } catch (error) {
    const { code } = error as ArtifactStoreError;
    if (code === 'ARTIFACT_MISSING') return 'missing';
    if (code === 'ARTIFACT_CORRUPT') return 'corrupt';
    throw error;
  }
}

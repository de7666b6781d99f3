import type { FileHandle } from 'node:fs/promises';
import type { ArtifactCondition } from './artifact-store.js';
import type { ArtifactStoreError } from './artifact-store.errors.js';

export const CHUNK_BYTES = 1 << 20;

/** Yields the bytes of an open file. Each chunk has memory of its own. */
export async function* readChunks(file: FileHandle, offset = 0, chunkBytes = CHUNK_BYTES): AsyncGenerator<Uint8Array> {
  for (let position = offset; ;) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** Finds the condition of an artifact by reading its bytes to the end; `bytes` throws if they have another digest. */
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

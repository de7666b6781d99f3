import type { FileHandle } from 'node:fs/promises';

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

import type { FileHandle } from 'node:fs/promises';

/**
 * Fills the bytes from a place of an open file on: one call of `read` may give fewer.
 * @param tooShort makes the error for a file that ends before, at the place that it gets
 */
export async function fillFrom(
  file: Pick<FileHandle, 'read'>,
  bytes: Uint8Array,
  from: number,
  tooShort: (endsAt: number) => Error,
): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, from + at);
    if (bytesRead === 0) throw tooShort(from + at);
    at += bytesRead;
  }
}

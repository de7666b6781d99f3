import { statfs } from 'node:fs/promises';

/** The bytes that a user without special rights can write. undefined: the file system does not say. */
export async function availableBytes(folder: string): Promise<bigint | undefined> {
  const found = await statfs(folder, { bigint: true }).catch(() => null);
  return found === null ? undefined : found.bavail * found.bsize;
}

// Two ways to recognize a file: by its bytes, and by its metadata without reading the bytes.
import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { userFileChunks } from './user-file.js';

/** Returns the file's SHA-256 in hexadecimal. @throws UserFileError, or the signal's reason */
export async function digestOfFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of userFileChunks(path, signal)) hash.update(chunk);
  return hash.digest('hex');
}

/** A text that changes when the file is written to or replaced. */
export function fileMark({ dev, ino, size, mtimeNs }: BigIntStats): string {
  return `${dev} ${ino} ${size} ${mtimeNs}`;
}

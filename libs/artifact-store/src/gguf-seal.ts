// A GGUF export holds its own digest, which is computed with zeros in the digest's place. So the file proves later that it is unchanged.
// The core writes the digest among the first keys (`gguf_model.cpp`).
import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';

const KEY = Buffer.from('espalier.sha256');
const DIGITS = 64;
/** The bytes of the type and the length, which stand between a key and its text. */
const LEAD = 4 + 8;
/** The key lies within this number of bytes from the start of the file. */
export const GGUF_HEAD_BYTES = 4_096;
const CHUNK_BYTES = 1 << 20;

export interface GgufSeal {
  /** The offset of the digest's digits in the file. */
  at: number;
  digest: string;
}

/** Finds the seal in the first bytes of a file; undefined: the file has no seal. */
export function sealIn(head: Buffer): GgufSeal | undefined {
  const key = head.indexOf(KEY);
  const at = key + KEY.length + LEAD;
  const digest = head.subarray(at, at + DIGITS).toString('latin1');
  return key >= 0 && /^[0-9a-f]{64}$/.test(digest) ? { at, digest } : undefined;
}

/** Returns the chunk with zeros in the place of the seal. @param from the chunk's offset in the file */
export function withoutSeal(chunk: Uint8Array, from: number, { at }: GgufSeal): Uint8Array {
  const [first, end] = [Math.max(at - from, 0), Math.min(at - from + DIGITS, chunk.byteLength)];
  return first >= end ? chunk : Uint8Array.from(chunk).fill('0'.charCodeAt(0), first, end);
}

/** Writes a new seal after another program has changed the file. A file without a seal stays as it is. */
export async function renewSeal(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(GGUF_HEAD_BYTES), 0, GGUF_HEAD_BYTES, 0);
    const seal = sealIn(buffer.subarray(0, bytesRead));
    if (seal !== undefined) await file.write(await digestWithout(file, seal), seal.at, 'latin1');
  } finally {
    await file.close();
  }
}

async function digestWithout(file: FileHandle, seal: GgufSeal): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; ;) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, at);
    if (bytesRead === 0) return hash.digest('hex');
    hash.update(withoutSeal(buffer.subarray(0, bytesRead), at, seal));
    at += bytesRead;
  }
}

// Two ways to recognize a file: by its bytes, and by its metadata without reading the bytes.
import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { stat } from 'node:fs/promises';
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

/** A text that changes also when a writer sets the file's time back: no program can set the time of the last change of the metadata. */
export const strictFileMark = (found: BigIntStats): string => `${fileMark(found)} ${found.ctimeNs}`;

/** The digests of files that this process has read. A file is read again when its mark has changed. */
export class FileDigests {
  private readonly known = new Map<string, { mark: string; digest: Promise<string> }>();

  /**
   * The digest of the file. Callers who ask at the same time wait for one reading, which goes on when one of them no longer waits.
   * @throws the errors of reading, or the signal's reason
   */
  async of(path: string, signal?: AbortSignal): Promise<string> {
    const mark = fileMark(await stat(path, { bigint: true }));
    const before = this.known.get(path);
    const entry = before?.mark === mark ? before : { mark, digest: digestOfFile(path) };
    if (entry !== before) {
      this.known.set(path, entry);
      entry.digest.catch(() => {
        if (this.known.get(path) === entry) this.known.delete(path);
      });
    }
    return signal === undefined ? entry.digest : untilAborted(entry.digest, signal);
  }

  /** Notes the digest of a file that was read by other means and is now at this path. */
  async note(path: string, digest: string): Promise<void> {
    const found = await stat(path, { bigint: true }).catch(() => null);
    if (found !== null) this.known.set(path, { mark: fileMark(found), digest: Promise.resolve(digest) });
  }
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let stop: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

// The list of a model's files, whose digest identifies the model, and the digests of files that were read before.
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { digestOfFile, fileMark } from '#files';
import { invalidField, type engineV1 } from '#protocol';

export interface ListedFile {
  name: string;
  bytes: number;
  digest: string;
}

/** Plain names only: no name may lead out of the folder, and none may hide a file. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}$/;
const DIGEST = /^[0-9a-f]{64}$/;
const FILES_MAX = 2_000;

/** @throws EspalierError FIELD_REQUIRED, FIELD_OUT_OF_RANGE */
export function checkedList(files: readonly engineV1.ModelFile[]): ListedFile[] {
  if (files.length === 0) throw invalidField('FIELD_REQUIRED', 'files', 'is empty: a model has files');
  if (files.length > FILES_MAX)
    throw invalidField('FIELD_OUT_OF_RANGE', 'files', `has ${files.length} entries; at most ${FILES_MAX} are allowed`);
  const isOutline = files.every(({ digest }) => digest === '');
  const names = new Set<string>();
  return files.map(({ name, bytes, digest }, index) => {
    const at = `files[${index}]`;
    if (!NAME.test(name)) throw invalidField('FIELD_OUT_OF_RANGE', `${at}.name`, `is ${JSON.stringify(name)}: a plain name is allowed`);
    if (names.has(name)) throw invalidField('FIELD_OUT_OF_RANGE', `${at}.name`, `is "${name}", as that of another file`);
    names.add(name);
    if (!isOutline && !DIGEST.test(digest))
      throw invalidField('FIELD_OUT_OF_RANGE', `${at}.digest`, 'is no SHA-256: 64 digits and letters from a to f are allowed');
    if (bytes > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidField('FIELD_OUT_OF_RANGE', `${at}.bytes`, `is ${bytes}`);
    return { name, bytes: Number(bytes), digest };
  });
}

/** The digest that identifies a model. */
export function digestOfList(files: readonly ListedFile[]): string {
  const sorted = files.map(({ name, bytes, digest }) => [name, bytes, digest] as const).sort(([one], [other]) => (one < other ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex');
}

/** The digests of files that this process has read. Each holds as long as the file's mark stays the same. */
export class KnownDigests {
  private readonly known = new Map<string, { mark: string; digest: string }>();

  /** Tells whether the folder holds exactly these files. */
  async areIn(folder: string, files: readonly ListedFile[], signal?: AbortSignal): Promise<boolean> {
    const isOfSize = ({ name, bytes }: ListedFile): boolean => markOf(join(folder, name))?.bytes === bytes;
    if (!files.every(isOfSize)) return false; // the sizes are checked before any file is read
    for (const file of files) if (!(await this.isIn(folder, file, signal))) return false;
    return true;
  }

  async isIn(folder: string, { name, bytes, digest }: ListedFile, signal?: AbortSignal): Promise<boolean> {
    const path = join(folder, name);
    const found = markOf(path);
    if (found?.bytes !== bytes) return false;
    const before = this.known.get(path);
    if (before?.mark === found.mark) return before.digest === digest;
    const read = await digestOfFile(path, signal).catch(() => null);
    signal?.throwIfAborted();
    if (read === null) return false; // a file that this user can't read counts as missing
    this.known.set(path, { mark: found.mark, digest: read });
    return read === digest;
  }

  /** Notes the digest of a file that was read and is now at this path. */
  note(path: string, digest: string): void {
    const found = markOf(path);
    if (found !== null) this.known.set(path, { mark: found.mark, digest });
  }
}

function markOf(path: string): { bytes: number; mark: string } | null {
  try {
    const found = statSync(path, { bigint: true });
    return { bytes: Number(found.size), mark: fileMark(found) };
  } catch {
    return null; // the file is missing, or in a folder that this user can't read
  }
}

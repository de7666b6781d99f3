// The list of a model's files, whose digest identifies the model, and the digests of files that were read before.
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { isPlainName, type FileDigests } from '#files';
import { invalidField, type engineV1 } from '#protocol';

export interface ListedFile {
  name: string;
  bytes: number;
  digest: string;
}

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
    if (!isPlainName(name) || name.includes('/'))
      throw invalidField('FIELD_OUT_OF_RANGE', `${at}.name`, `is ${JSON.stringify(name)}: a plain name is allowed`);
    if (names.has(name)) throw invalidField('FIELD_OUT_OF_RANGE', `${at}.name`, `is "${name}", as that of another file`);
    names.add(name);
    if (!isOutline && !DIGEST.test(digest))
      throw invalidField('FIELD_OUT_OF_RANGE', `${at}.digest`, 'is not a SHA-256: 64 digits and letters from a to f are allowed');
    if (bytes > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidField('FIELD_OUT_OF_RANGE', `${at}.bytes`, `is ${bytes}`);
    return { name, bytes: Number(bytes), digest };
  });
}

/** The digest that identifies a model. */
export function digestOfList(files: readonly ListedFile[]): string {
  const sorted = files.map(({ name, bytes, digest }) => [name, bytes, digest] as const).sort(([one], [other]) => (one < other ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex');
}

/** Tells whether the folder holds exactly these files. */
export async function areIn(folder: string, files: readonly ListedFile[], digests: FileDigests, signal?: AbortSignal): Promise<boolean> {
  if (!files.every((file) => isOfSize(folder, file))) return false; // the sizes are checked before any file is read
  for (const file of files) if (!(await isIn(folder, file, digests, signal))) return false;
  return true;
}

export async function isIn(folder: string, file: ListedFile, digests: FileDigests, signal?: AbortSignal): Promise<boolean> {
  if (!isOfSize(folder, file)) return false;
  const found = await digests.of(join(folder, file.name), signal).catch(() => null);
  signal?.throwIfAborted();
  return found === file.digest; // a file that this user can't read counts as missing
}

function isOfSize(folder: string, { name, bytes }: ListedFile): boolean {
  try {
    return statSync(join(folder, name)).size === bytes;
  } catch {
    return false; // the file is missing, or in a folder that this user can't read
  }
}

// Remembers which token shard belongs to which files and tokenizer. Only a shortcut: an entry that is lost, damaged or
// names a shard that is gone means tokenizing again, never a wrong result.
import { createHash, randomUUID } from 'node:crypto';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '#files';
import type { ArtifactStore } from '#artifact-store';
import type { Packing } from './data-files.js';

/** Raised whenever the same files would give other tokens than before. */
const TOKENS_VERSION = 1;

export interface TokenIndexKey {
  tokenizerDigest: string;
  configDigest: string;
  /** '': the model has none. */
  templateDigest: string;
  textColumn: string;
  responseOnly: boolean;
  files: { format: string; packing: Packing | null; digest: string }[];
}
export interface TokenIndexEntry {
  digest: string;
  tokenCount: number;
  largestId: number;
}

export function indexFolderOf(store: ArtifactStore): string {
  return join(store.sideFolder, 'token-index');
}

export function tokenIndexKey(key: TokenIndexKey): string {
  const files = key.files.map(({ format, packing, digest }) => [format, packing === 'zstd' ? packing : packing !== null, digest]);
  const parts = [TOKENS_VERSION, key.tokenizerDigest, key.configDigest, key.templateDigest, key.textColumn, files];
  return createHash('sha256')
    .update(JSON.stringify(key.responseOnly ? [...parts, 'responses'] : parts))
    .digest('hex');
}

export async function readTokenIndex(folder: string, key: string, store: ArtifactStore): Promise<TokenIndexEntry | null> {
  try {
    const entry = JSON.parse(await readFile(join(folder, `${key}.json`), 'utf8')) as TokenIndexEntry;
    const found = await store.stat(entry.digest);
    return found !== null && found.bytes === entry.tokenCount * 4 && Number.isInteger(entry.largestId) ? entry : null;
  } catch {
    return null;
  }
}

/** The shards that a run of the same text would find made. */
export async function rememberedTokens(store: ArtifactStore): Promise<Set<string>> {
  const folder = indexFolderOf(store);
  const digests = new Set<string>();
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.endsWith('.json')) continue;
    const entry = await readTokenIndex(folder, name.slice(0, -'.json'.length), store);
    if (entry !== null) digests.add(entry.digest);
  }
  return digests;
}

export async function writeTokenIndex(folder: string, key: string, entry: TokenIndexEntry): Promise<void> {
  const path = join(folder, `${key}.json`);
  const incoming = `${path}.${randomUUID()}`;
  try {
    makeFolder(folder);
    await writeFile(incoming, JSON.stringify(entry));
    await rename(incoming, path);
  } catch {
    await rm(incoming, { force: true }).catch(() => undefined); // the shard itself is stored; only the shortcut is missing
  }
}

// Remembers which token shards belong to which files and tokenizer, and where to go on if only the first shards are stored. The index only
// saves time: if an entry is lost, damaged or names a missing shard, the text is tokenized again, and the result is never wrong.
import { createHash, randomUUID } from 'node:crypto';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '#files';
import type { ArtifactStore } from '#artifact-store';
import type { Packing } from '../rows/data-files.js';

/** Raised whenever the same files would give other tokens than before. */
const TOKENS_VERSION = 2;

export interface TokenIndexKey {
  tokenizerDigest: string;
  configDigest: string;
  /** The SHA-256 of the chat template; '': the model has none. */
  templateDigest: string;
  textColumn: string;
  responseOnly: boolean;
  files: { format: string; packing: Packing | null; digest: string }[];
}
/**
 * A place in a text: the file, the items of it that are read before the place, and the tokens after these items. Items are documents, or
 * the tokens of a file of tokens.
 */
export interface TextPlace {
  file: number;
  items: number;
  tokens: number;
}
export interface TokenShardEntry {
  digest: string;
  tokenCount: number;
  largestId: number;
  /** The number of tokens that are learned, which are not only context. */
  learned: number;
  /** The place where the next shard begins. */
  next: TextPlace;
}
/** The entry of a text that is one artifact. */
type WholeEntry = Pick<TokenShardEntry, 'digest' | 'tokenCount' | 'largestId'>;
/** The entry of a text in several shards: all of them, or the first ones. */
interface ShardsEntry {
  shardTokens: number;
  isWhole: boolean;
  shards: TokenShardEntry[];
}
export interface FoundTokens {
  /** False: the shards are only the beginning of the text. */
  isWhole: boolean;
  shards: TokenShardEntry[];
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

const SHARDS = '.shards.json';
const WHOLE = '.json';

/** The index's entry for one text. */
export class TokenIndex {
  constructor(
    private readonly folder: string,
    private readonly key: string,
    private readonly store: ArtifactStore,
    /** The length of each shard but the last; Infinity: the text is one artifact. */
    private readonly shardTokens: number,
  ) {}

  async find(): Promise<FoundTokens | null> {
    const whole = await readEntry<WholeEntry>(this.folder, `${this.key}${WHOLE}`);
    if (whole !== null && (await isStored(whole, this.store)))
      return { isWhole: true, shards: [{ ...whole, learned: 0, next: { file: 0, items: 0, tokens: 0 } }] };
    if (this.shardTokens === Infinity) return null;
    const entry = await readEntry<ShardsEntry>(this.folder, `${this.key}${SHARDS}`);
    if (entry === null || entry.shardTokens !== this.shardTokens) return null;
    const shards = await storedOf(entry, this.store);
    return { isWhole: entry.isWhole && shards.length === entry.shards.length, shards };
  }

  async write(shards: TokenShardEntry[], isWhole: boolean): Promise<void> {
    const { digest, tokenCount, largestId } = shards[0]!;
    if (isWhole && shards.length === 1) await writeEntry(this.folder, `${this.key}${WHOLE}`, { digest, tokenCount, largestId });
    else await writeEntry(this.folder, `${this.key}${SHARDS}`, { shardTokens: this.shardTokens, isWhole, shards });
  }
}

/** Returns the digests of all shards that the index names, which a run with the same text would use again. */
export async function rememberedTokens(store: ArtifactStore): Promise<Set<string>> {
  const folder = indexFolderOf(store);
  const digests = new Set<string>();
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.endsWith(WHOLE)) continue;
    if (name.endsWith(SHARDS)) {
      const entry = await readEntry<ShardsEntry>(folder, name);
      if (entry !== null) for (const { digest } of await storedOf(entry, store)) digests.add(digest);
    } else {
      const entry = await readEntry<WholeEntry>(folder, name);
      if (entry !== null && (await isStored(entry, store))) digests.add(entry.digest);
    }
  }
  return digests;
}

async function isStored({ digest, tokenCount, largestId }: WholeEntry, store: ArtifactStore): Promise<boolean> {
  const found = await store.stat(digest).catch(() => null);
  return found !== null && found.bytes === tokenCount * 4 && Number.isInteger(largestId);
}

/** Returns the shards before the first one that is missing in the store. */
async function storedOf({ shards }: ShardsEntry, store: ArtifactStore): Promise<TokenShardEntry[]> {
  const stored: TokenShardEntry[] = [];
  for (const shard of Array.isArray(shards) ? shards : []) {
    const { file, items, tokens } = shard.next ?? {};
    if (![file, items, tokens, shard.learned].every(Number.isInteger) || !(await isStored(shard, store))) break;
    stored.push(shard);
  }
  return stored;
}

async function readEntry<Entry>(folder: string, name: string): Promise<Entry | null> {
  try {
    return JSON.parse(await readFile(join(folder, name), 'utf8')) as Entry;
  } catch {
    return null;
  }
}

async function writeEntry(folder: string, name: string, entry: object): Promise<void> {
  const path = join(folder, name);
  const incoming = `${path}.${randomUUID()}`;
  try {
    makeFolder(folder);
    await writeFile(incoming, JSON.stringify(entry));
    await rename(incoming, path);
  } catch {
    await rm(incoming, { force: true }).catch(() => undefined); // the shards are stored, only their entry is missing
  }
}

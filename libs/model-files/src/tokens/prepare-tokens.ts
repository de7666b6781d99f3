// Turns a text into artifacts of tokens, u32 little-endian (`token-words.ts`). Documents are joined, each with the special tokens of the
// tokenizer's post-processor. The same files are tokenized only once with the same tokenizer.
import { join } from 'node:path';
import { chatTemplateDigest, readChatTemplate } from '../chat-template.js';
import { digestOfData, indexFileOf, listDataFiles, type DataFile } from '../rows/data-files.js';
import { readTokenizerFiles, requireTokenizer } from '../load-tokenizer.js';
import { ModelFilesError } from '../model-files.errors.js';
import { TokenIndex, indexFolderOf, tokenIndexKey } from './token-index.js';
import type { PrepareTokensOptions, TextSource } from './text-source.js';
import { tokenize, type Sources } from './tokenize.js';

const TEXT_COLUMN = 'text';

export interface PreparedTokens {
  /** The digest of the artifact with the token ids. */
  digest: string;
  tokenCount: number;
  /** The SHA-256 of tokenizer.json. */
  tokenizerDigest: string;
}

export interface PreparedShards {
  /** The shards in order. Joined together they are the text. */
  shards: { digest: string; tokenCount: number }[];
  tokenCount: number;
  tokenizerDigest: string;
}

/** Makes the cheap checks: whether the model's tokenizer and the data are there, and are files. Returns the bytes of the data. */
export async function requireSources({
  modelPath,
  text,
  signal,
}: Pick<PrepareTokensOptions, 'modelPath' | 'text' | 'signal'>): Promise<number> {
  return withField(text, async () => {
    await requireTokenizer(modelPath);
    const files = await filesOf(text, signal);
    return files.reduce((sum, { bytes }) => sum + bytes, 0);
  });
}

/** Prepares a text as one artifact. Rejects with ModelFilesError, ArtifactStoreError, or the signal's reason. */
export async function prepareTokens(options: PrepareTokensOptions): Promise<PreparedTokens> {
  return withField(options.text, async () => {
    const { tokenizerDigest, shards, tokenCount } = await prepare(options, Infinity);
    return { digest: shards[0]!.digest, tokenCount, tokenizerDigest };
  });
}

/** The tokens of a shard, which takes 256 MiB. A crash loses at most the shard that was being made. */
export const SHARD_TOKENS = 1 << 26;

/**
 * Prepares a text as shards of equal size, for a text of any size. A preparation that was interrupted goes on behind the stored shards,
 * unless only a part of the text is read. Rejects with ModelFilesError, ArtifactStoreError, or the signal's reason.
 */
export async function prepareTokenShards(options: PrepareTokensOptions, shardTokens = SHARD_TOKENS): Promise<PreparedShards> {
  return withField(options.text, () => prepare(options, shardTokens));
}

/** Adds to an error the field of the request that named the file. */
export async function withField<T>({ paths, fields = ['data_path'] }: TextSource, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ModelFilesError) {
      const named = paths.findIndex((path) => error.file === path || error.file?.startsWith(join(path, '/')));
      error.field ??= fields[Math.min(Math.max(named, 0), fields.length - 1)];
    }
    throw error;
  }
}

export async function filesOf({ paths }: TextSource, signal?: AbortSignal): Promise<DataFile[]> {
  const files: DataFile[][] = [];
  for (const path of paths) files.push(await listDataFiles(path, signal));
  return files.flat();
}

async function prepare(options: PrepareTokensOptions, shardTokens: number): Promise<PreparedShards> {
  const { signal, store, text, vocabularySize } = options;
  const tokenizer = await readTokenizerFiles(options.modelPath, signal);
  const { tokenizerDigest } = tokenizer;
  const sources: Sources = {
    files: await filesOf(text, signal),
    tokenizer,
    chatTemplate: await readChatTemplate(options.modelPath, tokenizer.configJson, signal),
  };
  // Tokenizing a part of a text again is faster than reading all of it for its digest, so a part is not remembered.
  const indexFolder = text.maxTokens === undefined ? (options.indexFolder ?? indexFolderOf(store)) : undefined;
  const index = indexFolder === undefined ? null : new TokenIndex(indexFolder, await keyOf(sources, text, signal), store, shardTokens);
  const known = await index?.find();
  // An entry that was made for a larger vocabulary may hold ids that this model lacks. Tokenizing again reports the place of such an id.
  const fits = known != null && known.shards.every(({ largestId }) => largestId < vocabularySize);
  const made = fits && known.isWhole ? known.shards : await tokenize(options, sources, shardTokens, index, fits ? known.shards : []);
  const shards = made.map(({ digest, tokenCount }) => ({ digest, tokenCount }));
  return { shards, tokenCount: shards.reduce((sum, shard) => sum + shard.tokenCount, 0), tokenizerDigest };
}

async function keyOf(
  { files, tokenizer, chatTemplate }: Sources,
  { textColumn = TEXT_COLUMN, responseOnly = false }: TextSource,
  signal?: AbortSignal,
) {
  const keyed = [];
  for (const { path, format, packing } of files) {
    keyed.push({ format, packing, digest: await digestOfData(path, signal) });
    if (format === 'megatron') keyed.push({ format, packing: null, digest: await digestOfData(indexFileOf(path), signal) });
  }
  const { tokenizerDigest, configDigest } = tokenizer;
  const templateDigest = chatTemplate === null ? '' : chatTemplateDigest(chatTemplate);
  return tokenIndexKey({ tokenizerDigest, configDigest, templateDigest, textColumn, responseOnly, files: keyed });
}

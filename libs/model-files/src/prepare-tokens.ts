// A corpus as one artifact of tokens: u32 little-endian (`token-words.ts`). Documents are joined, each with the special tokens of the
// tokenizer's post-processor. The same files with the same tokenizer are tokenized once.
import { join } from 'node:path';
import type { ChildProcess } from 'node:child_process';
import type { ArtifactStore } from '#artifact-store';
import { programFile } from '#files';
import { chatTemplateDigest, readChatTemplate, type ChatTemplate } from './chat-template.js';
import { digestOfFile, indexFileOf, listDataFiles, requireUnchanged, type DataFile } from './data-files.js';
import { readTokenizerFiles, requireTokenizer, type TokenizerFiles } from './load-tokenizer.js';
import { fromErrorMessage, ModelFilesError, type ModelFilesErrorCode } from './model-files.errors.js';
import { messagesFrom, startReading, tell } from './reading-process.js';
import { indexFolderOf, readTokenIndex, tokenIndexKey, writeTokenIndex, type TokenIndexEntry } from './token-index.js';
import { idOf, isContext } from './token-words.js';
import type { TokenizeMessage, TokenizeTask } from './tokenizing-process.js';

const TEXT_COLUMN = 'text';

/** Real documents take milliseconds. */
const DOCUMENT_TIME_LIMIT_MS = 10_000;

export interface TokenizingProgress {
  bytesDone: number;
  bytesTotal: number;
  documents: number;
  tokens: number;
}
/** The text to make tokens of. */
export interface TextSource {
  /** Data files, or folders of them, in the order that they are read. */
  paths: string[];
  /** The request fields that the paths came from, for errors; fewer: the last one goes on. */
  fields?: string[];
  /** The field or column with the text; by default "text", "messages", or "instruction" and "output", whichever is there. */
  textColumn?: string;
  /** All but responses is only context. */
  responseOnly?: boolean;
  /** Reading ends after this number of tokens. */
  maxTokens?: number | undefined;
}
export interface PrepareTokensOptions {
  /** Folder with tokenizer.json. */
  modelPath: string;
  text: TextSource;
  /** The model's vocab_size: ids from 0 to one below it are allowed. */
  vocabularySize: number;
  store: ArtifactStore;
  /** Where prepared corpora are remembered; by default beside a folder store. */
  indexFolder?: string;
  onProgress?: (progress: TokenizingProgress) => void;
  /** How long the tokenizer may take for a document, beside what its length takes. */
  documentTimeLimitMs?: number;
  signal?: AbortSignal;
}
export interface PreparedTokens {
  /** The digest of the artifact with the token ids. */
  digest: string;
  tokenCount: number;
  /** SHA-256 of tokenizer.json. */
  tokenizerDigest: string;
}

/** Makes the cheap checks: whether the sources are there, and are files. Returns the bytes of the data. */
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

/** Rejects with ModelFilesError, with ArtifactStoreError, or with the signal's reason. */
export async function prepareTokens(options: PrepareTokensOptions): Promise<PreparedTokens> {
  return withField(options.text, () => prepare(options));
}

/** Says in an error which field of the request named the file that it is about. */
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

async function prepare(options: PrepareTokensOptions): Promise<PreparedTokens> {
  const { signal, store, text, vocabularySize } = options;
  const tokenizer = await readTokenizerFiles(options.modelPath, signal);
  const { tokenizerDigest } = tokenizer;
  const sources: Sources = {
    files: await filesOf(text, signal),
    tokenizer,
    chatTemplate: await readChatTemplate(options.modelPath, tokenizer.configJson, signal),
  };
  // A part of a text is tokenized again sooner than all of it is read for its digest.
  const indexFolder = text.maxTokens === undefined ? (options.indexFolder ?? indexFolderOf(store)) : undefined;
  const key = indexFolder === undefined ? '' : await keyOf(sources, text, signal);
  const known = indexFolder === undefined ? null : await readTokenIndex(indexFolder, key, store);
  // An entry made for a larger vocabulary may hold ids that this model lacks; tokenizing again names their place.
  if (known !== null && known.largestId < vocabularySize) return { digest: known.digest, tokenCount: known.tokenCount, tokenizerDigest };

  const made = await tokenize(options, sources);
  if (indexFolder !== undefined) await writeTokenIndex(indexFolder, key, made);
  return { digest: made.digest, tokenCount: made.tokenCount, tokenizerDigest };
}

interface Sources {
  files: DataFile[];
  tokenizer: TokenizerFiles;
  chatTemplate: ChatTemplate | null;
}

async function keyOf(
  { files, tokenizer, chatTemplate }: Sources,
  { textColumn = TEXT_COLUMN, responseOnly = false }: TextSource,
  signal?: AbortSignal,
) {
  const keyed = [];
  for (const { path, format, packing } of files) {
    keyed.push({ format, packing, digest: await digestOfFile(path, signal) });
    if (format === 'megatron') keyed.push({ format, packing: null, digest: await digestOfFile(indexFileOf(path), signal) });
  }
  const { tokenizerDigest, configDigest } = tokenizer;
  const templateDigest = chatTemplate === null ? '' : chatTemplateDigest(chatTemplate);
  return tokenIndexKey({ tokenizerDigest, configDigest, templateDigest, textColumn, responseOnly, files: keyed });
}

async function tokenize(options: PrepareTokensOptions, { files, tokenizer, chatTemplate }: Sources): Promise<TokenIndexEntry> {
  const { tokenizerJson, configJson } = tokenizer;
  const { vocabularySize, documentTimeLimitMs = DOCUMENT_TIME_LIMIT_MS } = options;
  const { textColumn, responseOnly } = options.text;
  const task: TokenizeTask = {
    files,
    reading: { textColumn, responseOnly },
    chatTemplate,
    tokenizerJson,
    configJson,
    vocabularySize,
    documentTimeLimitMs,
  };
  const reader = startReading(programFile(new URL('./tokenizing-process.js', import.meta.url)), task);
  const totals: Totals = { tokenCount: 0, largestId: -1, learned: 0 };
  try {
    const stored = await options.store.put(tokenBytes(reader, options, files, totals), { mediaType: 'application/octet-stream' });
    return { digest: stored.digest, tokenCount: totals.tokenCount, largestId: totals.largestId };
  } catch (error) {
    if (error instanceof ModelFilesError && error.code.startsWith('DATA_')) await requireUnchanged(files); // the better reason
    throw error;
  } finally {
    reader.kill('SIGKILL');
  }
}

interface Totals {
  tokenCount: number;
  largestId: number;
  /** Tokens that are not only context. */
  learned: number;
}

async function* tokenBytes(reader: ChildProcess, options: PrepareTokensOptions, files: DataFile[], totals: Totals) {
  const bytesTotal = files.reduce((sum, file) => sum + file.bytes, 0);
  let documents = 0;
  for await (const message of messagesOf(reader, options)) {
    if (message.kind === 'failed') throw fromErrorMessage(message.error);
    if (message.kind === 'done') break;
    const left = (options.text.maxTokens ?? Infinity) - totals.tokenCount;
    const bytes = message.bytes.byteLength > left * 4 ? message.bytes.subarray(0, left * 4) : message.bytes;
    countTokens(bytes, totals);
    documents += message.documents;
    options.onProgress?.({
      bytesDone: Math.min(Math.round(message.bytesRead), bytesTotal),
      bytesTotal,
      documents,
      tokens: totals.tokenCount,
    });
    yield bytes;
    if (totals.tokenCount === options.text.maxTokens) break;
    tell(reader, 'taken');
  }
  // Before the artifact gets its name: nothing is stored of an empty or moving corpus.
  const file = options.text.paths.join(', ');
  if (totals.tokenCount === 0) throw emptyText(options.text);
  if (totals.learned === 0)
    throw new ModelFilesError('DATA_EMPTY', `${file} holds no response (a message with the role "assistant"); response_only needs some`, {
      file,
    });
  await requireUnchanged(files);
}

export function emptyText({ paths }: TextSource): ModelFilesError {
  const file = paths.join(', ');
  return new ModelFilesError('DATA_EMPTY', `${file} holds no text; at least one document that is not empty is needed`, { file });
}

/** How long the reading process may be silent. Its encoding threads have a limit of their own. */
const SILENCE_LIMIT_MS = 60_000;

function messagesOf(reader: ChildProcess, { text, signal }: PrepareTokensOptions): AsyncGenerator<TokenizeMessage> {
  const file = text.paths.join(', ');
  const unusable = (code: ModelFilesErrorCode, what: string): ModelFilesError => new ModelFilesError(code, `${file} ${what}`, { file });
  return messagesFrom<TokenizeMessage>(reader, {
    silenceMs: SILENCE_LIMIT_MS,
    signal,
    silent: () => unusable('DATA_MALFORMED', 'has a place at which reading it does not end'),
    tooLarge: () => unusable('DATA_TOO_LARGE', 'needs more memory to be read than there is'),
  });
}

function countTokens(bytes: Uint8Array, totals: Totals): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let largest = totals.largestId;
  for (let offset = 0; offset < bytes.byteLength; offset += 4) {
    const word = view.getUint32(offset, true);
    if (idOf(word) > largest) largest = idOf(word);
    if (!isContext(word)) totals.learned += 1;
  }
  totals.largestId = largest;
  totals.tokenCount += bytes.byteLength / 4;
}

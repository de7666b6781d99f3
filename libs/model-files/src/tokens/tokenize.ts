// Takes the tokens of a text from the reading process and stores them as shards of equal size.
import type { ChildProcess } from 'node:child_process';
import { programFile } from '#files';
import type { ChatTemplate } from '../chat-template.js';
import { requireUnchanged, type DataFile } from '../rows/data-files.js';
import type { TokenizerFiles } from '../load-tokenizer.js';
import { emptyText, fromErrorMessage, ModelFilesError, type ModelFilesErrorCode } from '../model-files.errors.js';
import { messagesFrom, startReading, send } from '../reading-process.js';
import type { PrepareTokensOptions } from './text-source.js';
import type { TextPlace, TokenIndex, TokenShardEntry } from './token-index.js';
import { idOf, isContext } from './token-words.js';
import type { TokenizeMessage, TokenizeTask } from './tokenizing-process.js';

/** The longest time for a document beside the time for its length. Real documents take milliseconds. */
const DOCUMENT_TIME_LIMIT_MS = 10_000;

export interface Sources {
  files: DataFile[];
  tokenizer: TokenizerFiles;
  chatTemplate: ChatTemplate | null;
}

/** @param done the shards that are stored already: reading goes on after them @returns all shards */
export async function tokenize(
  options: PrepareTokensOptions,
  sources: Sources,
  shardTokens: number,
  index: TokenIndex | null,
  done: readonly TokenShardEntry[],
): Promise<TokenShardEntry[]> {
  const reader = startReading(
    programFile(new URL('./tokenizing-process.js', import.meta.url)),
    taskOf(options, sources, done.at(-1)?.next),
  );
  const stream = new TokenStream(reader, options, sources.files, done);
  const shards = [...done];
  try {
    while (await stream.hasMore()) {
      const { digest } = await options.store.put(stream.next(shardTokens), { mediaType: 'application/octet-stream' });
      shards.push({ digest, ...stream.shard, next: stream.place });
      await index?.write(shards, !(await stream.hasMore()));
    }
  } catch (error) {
    // A file that has changed meanwhile explains such an error better.
    if (error instanceof ModelFilesError && error.code.startsWith('DATA_')) await requireUnchanged(sources.files);
    throw error;
  } finally {
    stream.close();
  }
  return shards;
}

function taskOf(options: PrepareTokensOptions, { files, tokenizer, chatTemplate }: Sources, from?: TextPlace): TokenizeTask {
  const { tokenizerJson, configJson } = tokenizer;
  const { vocabularySize, documentTimeLimitMs = DOCUMENT_TIME_LIMIT_MS } = options;
  const { textColumn, responseOnly } = options.text;
  return {
    files,
    from: { file: from?.file ?? 0, items: from?.items ?? 0 },
    reading: { textColumn, responseOnly },
    chatTemplate,
    tokenizerJson,
    configJson,
    vocabularySize,
    documentTimeLimitMs,
  };
}

class TokenStream {
  private readonly messages: AsyncGenerator<TokenizeMessage>;
  private readonly bytesTotal: number;
  /** The place where the current message begins, the number of its tokens that shards have taken, and its remaining bytes. */
  private begin: { file: number; items: number };
  private taken = 0;
  private rest: Uint8Array = new Uint8Array(0);
  /** The tokens of the first messages that are in an earlier shard, and are skipped. */
  private skip: number;
  private ended = false;
  private documents = 0;
  private tokens: number;
  /** The number of tokens that are learned, which are not only context. */
  private learned: number;
  /** The counts of the last shard. */
  shard = { tokenCount: 0, largestId: -1, learned: 0 };

  constructor(
    private readonly reader: ChildProcess,
    private readonly options: PrepareTokensOptions,
    private readonly files: DataFile[],
    done: readonly TokenShardEntry[],
  ) {
    this.messages = messagesOf(reader, options);
    this.bytesTotal = files.reduce((sum, file) => sum + file.bytes, 0);
    const { tokens, ...begin } = done.at(-1)?.next ?? { file: 0, items: 0, tokens: 0 };
    this.begin = begin;
    this.skip = tokens;
    this.tokens = done.reduce((sum, { tokenCount }) => sum + tokenCount, 0);
    this.learned = done.reduce((sum, { learned }) => sum + learned, 0);
  }

  /** Ends the reading process. */
  close(): void {
    this.reader.kill('SIGKILL');
    void this.messages.return(undefined).catch(() => undefined); // the generator watches the process until it returns
  }

  /** The place where the next shard begins. */
  get place(): TextPlace {
    return { ...this.begin, tokens: this.taken };
  }

  /** Waits for the next bytes; false: the text has been read as far as it was asked for. */
  async hasMore(): Promise<boolean> {
    while (this.rest.byteLength === 0 && !this.ended) await this.read();
    if (this.rest.byteLength === 0) this.requireText();
    return this.rest.byteLength > 0;
  }

  /**
   * Yields the bytes of the next shard. It only ends without an error if the files are unchanged since their digests were taken, so that no
   * changed text is stored.
   */
  async *next(shardTokens: number): AsyncGenerator<Uint8Array> {
    const shard = { tokenCount: 0, largestId: -1, learned: 0 };
    this.shard = shard;
    while (shard.tokenCount < shardTokens && (await this.hasMore())) {
      const bytes = this.rest.subarray(0, Math.min(this.rest.byteLength, (shardTokens - shard.tokenCount) * 4));
      this.rest = this.rest.subarray(bytes.byteLength);
      const { largestId, learned } = countTokens(bytes);
      shard.tokenCount += bytes.byteLength / 4;
      shard.learned += learned;
      shard.largestId = Math.max(shard.largestId, largestId);
      this.taken += bytes.byteLength / 4;
      this.learned += learned;
      yield bytes;
    }
    await requireUnchanged(this.files);
  }

  private async read(): Promise<void> {
    const next: IteratorResult<TokenizeMessage, unknown> = await this.messages.next();
    if (next.done === true) throw new Error('the reading process ended without a word');
    const message = next.value;
    if (message.kind === 'failed') throw fromErrorMessage(message.error);
    if (message.kind === 'done') {
      this.ended = true;
      return;
    }
    send(this.reader, 'taken');
    const { maxTokens = Infinity } = this.options.text;
    const count = message.bytes.byteLength / 4;
    const skipped = Math.min(this.skip, count);
    const used = Math.min(count - skipped, maxTokens - this.tokens);
    this.skip -= skipped;
    this.begin = message.begin;
    this.taken = skipped;
    this.rest = message.bytes.subarray(skipped * 4, (skipped + used) * 4);
    this.tokens += used;
    this.documents += message.documents;
    const bytesDone = Math.min(Math.round(message.bytesRead), this.bytesTotal);
    this.options.onProgress?.({ bytesDone, bytesTotal: this.bytesTotal, documents: this.documents, tokens: this.tokens });
    this.ended = this.tokens >= maxTokens;
  }

  /** Checks at the end of the text that it was not empty. */
  private requireText(): void {
    const { paths } = this.options.text;
    if (this.tokens === 0) throw emptyText(paths);
    const file = paths.join(', ');
    if (this.learned === 0)
      throw new ModelFilesError('DATA_EMPTY', `${file} holds no response (a message with the role "assistant"); response_only needs some`, {
        file,
      });
  }
}

/** The longest time in ms without a sign of life from the reading process. Its encoding threads have a limit of their own. */
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

function countTokens(bytes: Uint8Array): { largestId: number; learned: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let largestId = -1;
  let learned = 0;
  for (let offset = 0; offset < bytes.byteLength; offset += 4) {
    const word = view.getUint32(offset, true);
    if (idOf(word) > largestId) largestId = idOf(word);
    if (!isContext(word)) learned += 1;
  }
  return { largestId, learned };
}

// Encodes on several threads behind one function. Answers may arrive in any order; each resolves the promise of its batch.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { programFile } from '#files';
import { EncodeProgress, IDLE, LOADING } from './thread-progress.js';
import type { EncodedDocuments, EncodeResponse, EncodeWorkerData } from './encode-worker.js';
import { fromErrorMessage, ModelFilesError } from '../model-files.errors.js';
import type { SourceDocument } from '../rows/read-bytes.js';

/** The most threads. Each holds the tokenizer's tables once more, so further threads would cost memory and gain little. */
const MOST_THREADS = 4;
/** The longest time to load a tokenizer. A large one takes a few seconds on a busy machine. */
const LOADING_LIMIT_MS = 60_000;
/** A tenth of the slowest rate that was seen on a busy machine. */
const CHARACTERS_PER_MS = 20;
/** The longest time for one document, whatever its length, so that the caller gets an answer in time. */
const LENGTH_LIMIT_MS = 300_000;
const CHECK_INTERVAL_MS = 250;

interface Waiting {
  documents: SourceDocument[];
  resolve(encoded: EncodedDocuments): void;
  reject(error: unknown): void;
}
interface Thread {
  worker: Worker;
  progress: EncodeProgress;
  /** The document on which the thread was last seen, and the time when it was first seen on it. */
  seen: { batch: number; document: number; sinceMs: number };
}

export interface EncoderPoolOptions extends EncodeWorkerData {
  /** The time in ms that a document may take beside the time for its length. */
  documentTimeLimitMs: number;
}

export class EncoderPool {
  /** The threads. Each starts with its first batch, so a short text starts only one. */
  private readonly threads: Thread[];
  private readonly mostThreads = Math.min(Math.max(availableParallelism(), 1), MOST_THREADS);
  private readonly waiting = new Map<number, Waiting>();
  private nextBatch = 0;
  private readonly watching: NodeJS.Timeout;
  private failed: Error | null = null;
  /** The number of batches that keep every thread busy while the next ones are read. */
  readonly depth = this.mostThreads * 2;

  constructor(private readonly options: EncoderPoolOptions) {
    this.threads = [this.start()]; // it loads the tokenizer while the first batch is read
    this.watching = setInterval(() => this.threads.forEach((thread) => this.watch(thread)), CHECK_INTERVAL_MS);
  }

  private start(): Thread {
    const progress = new EncodeProgress();
    progress.at(IDLE, LOADING);
    const worker = new Worker(programFile(new URL('./encode-worker.js', import.meta.url)), {
      workerData: { ...this.options, progress: progress.shared },
    });
    worker.on('message', (response: EncodeResponse) => {
      const waiting = this.waiting.get(response.batch);
      this.waiting.delete(response.batch);
      if ('ids' in response) waiting?.resolve(response);
      else waiting?.reject(fromErrorMessage(response.error));
    });
    worker.on('error', (error: NodeJS.ErrnoException) => this.fail(error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? tooLarge(error) : error));
    return { worker, progress, seen: { ...progress.now, sinceMs: 0 } };
  }

  /** Ends a thread that hangs: a pattern of the tokenizer that runs for ever on some text would block the thread for ever. */
  private watch(thread: Thread): void {
    const now = thread.progress.now;
    if (now.batch !== thread.seen.batch || now.document !== thread.seen.document) thread.seen = { ...now, sinceMs: performance.now() };
    const document = this.waiting.get(now.batch)?.documents[now.document];
    if (now.batch === IDLE || (now.document !== LOADING && document === undefined)) return;
    const limitMs = document === undefined ? LOADING_LIMIT_MS : this.options.documentTimeLimitMs + timeForLength(document);
    if (performance.now() - thread.seen.sinceMs < limitMs) return;
    this.fail(timeout(document, limitMs));
  }

  private fail(error: Error): void {
    this.failed ??= error;
    for (const waiting of this.waiting.values()) waiting.reject(this.failed);
    this.waiting.clear();
  }

  encode(documents: SourceDocument[]): Promise<EncodedDocuments> {
    if (this.failed !== null) return Promise.reject(this.failed);
    const batch = this.nextBatch++;
    const answer = new Promise<EncodedDocuments>((resolve, reject) => this.waiting.set(batch, { documents, resolve, reject }));
    answer.catch(() => undefined); // the caller awaits it later, in order
    const thread = (this.threads[batch % this.mostThreads] ??= this.start());
    thread.worker.postMessage({ batch, documents });
    return answer;
  }

  async close(): Promise<void> {
    clearInterval(this.watching);
    await Promise.all(this.threads.map(({ worker }) => worker.terminate()));
  }
}

function timeForLength(document: SourceDocument): number {
  return Math.min(charactersToEncode(document) / CHARACTERS_PER_MS, LENGTH_LIMIT_MS);
}

/**
 * The number of characters that are encoded. A response is found by two token counts: of the text before it, and of the text up to its end.
 */
function charactersToEncode({ text, responses = [] }: SourceDocument): number {
  return responses.reduce((sum, { from, to }) => sum + from + to, text.length);
}

function timeout(document: SourceDocument | undefined, limitMs: number): ModelFilesError {
  const seconds = `${Math.round(limitMs / 1000)} s`;
  if (document === undefined)
    return new ModelFilesError('TOKENIZER_TIMEOUT', `tokenizer.json could not be loaded within ${seconds}`, { field: 'model_path' });
  const { file, line, text } = document;
  return new ModelFilesError(
    'TOKENIZER_TIMEOUT',
    `the tokenizer was given up after ${seconds} on ${file}, line ${line} (${text.length} characters): ` +
      'a pattern of tokenizer.json may run for ever on such text; a long document can be cut into several',
    { field: 'model_path', file, line },
  );
}

function tooLarge(error: Error): ModelFilesError {
  return new ModelFilesError('TOKENIZER_INVALID', `tokenizer.json can't be used: ${error.message}`, { field: 'model_path' });
}

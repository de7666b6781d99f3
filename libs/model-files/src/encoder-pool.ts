// Several encode threads behind one function; answers may come out of order, promises sort that out.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { EncodeResponse, EncodeWorkerData } from './encode-worker.js';
import { fromErrorMessage } from './model-files.errors.js';
import type { SourceDocument } from './read-bytes.js';

/** Each thread holds the tokenizer's tables once more, so more threads than this cost memory for little. */
const MOST_THREADS = 4;

interface Waiting {
  resolve(ids: Uint32Array<ArrayBuffer>): void;
  reject(error: unknown): void;
}

export class EncoderPool {
  private readonly workers: Worker[];
  private readonly waiting = new Map<number, Waiting>();
  private nextBatch = 0;
  /** Batches that keep every thread busy while the next ones are read. */
  readonly depth: number;

  constructor(data: EncodeWorkerData) {
    const threads = Math.min(Math.max(availableParallelism(), 1), MOST_THREADS);
    this.depth = threads * 2;
    this.workers = Array.from({ length: threads }, () => this.start(data));
  }

  private start(data: EncodeWorkerData): Worker {
    const worker = new Worker(new URL('./encode-worker.js', import.meta.url), { workerData: data });
    worker.on('message', (response: EncodeResponse) => {
      const waiting = this.waiting.get(response.batch);
      this.waiting.delete(response.batch);
      if ('ids' in response) waiting?.resolve(response.ids);
      else waiting?.reject(fromErrorMessage(response.error));
    });
    worker.on('error', (error) => this.failAll(error));
    return worker;
  }

  private failAll(error: unknown): void {
    for (const waiting of this.waiting.values()) waiting.reject(error);
    this.waiting.clear();
  }

  encode(documents: SourceDocument[]): Promise<Uint32Array<ArrayBuffer>> {
    const batch = this.nextBatch++;
    const answer = new Promise<Uint32Array<ArrayBuffer>>((resolve, reject) => this.waiting.set(batch, { resolve, reject }));
    answer.catch(() => undefined); // awaited later, in order
    this.workers[batch % this.workers.length]!.postMessage({ batch, documents });
    return answer;
  }

  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }
}

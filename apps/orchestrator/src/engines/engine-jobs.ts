// Work for the engine beside training: evaluations and exports that clients ask for. It is done between two segments, or at
// once when no run trains. Jobs die with the process: their client hears of it and asks again.
import { Injectable } from '@nestjs/common';
import { EspalierError } from '#protocol';
import type { EngineWorkbench } from './engine-workbench.js';

type Work<T> = (bench: EngineWorkbench, signal: AbortSignal) => Promise<T>;
interface Job {
  signal: AbortSignal;
  run(bench: EngineWorkbench): Promise<void>;
  refuse(error: unknown): void;
}

@Injectable()
export class EngineJobs {
  private readonly queue: Job[] = [];
  private wake: () => void = () => undefined;
  /** What the engine does before it comes to a new job, in words; '' when nothing. */
  busyWith = '';

  get pending(): boolean {
    return this.queue.length > 0;
  }

  /** Called when a job is added. */
  onAdded(listener: () => void): void {
    this.wake = listener;
  }

  submit<T>(work: Work<T>, signal: AbortSignal): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.queue.push({
        signal,
        run: async (bench) => {
          const both = AbortSignal.any([signal, bench.engine.lost]);
          await work(bench, both).then(resolve, reject);
        },
        refuse: reject,
      });
      signal.addEventListener('abort', () => reject(new EspalierError('CANCELLED', 'the client went away')), { once: true });
      this.wake();
    });
  }

  async runAll(bench: EngineWorkbench): Promise<void> {
    for (let job = this.queue.shift(); job !== undefined; job = this.queue.shift()) {
      if (!job.signal.aborted) await job.run(bench);
    }
  }

  refuseAll(error: unknown): void {
    for (let job = this.queue.shift(); job !== undefined; job = this.queue.shift()) job.refuse(error);
  }
}

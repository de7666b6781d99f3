// Work for engines beside training: evaluations and exports that clients ask for. A free engine does a job at once, and a training one
// between two segments. A job waits for the next engine if its engine died before it got any of the job. Jobs end with the process: their
// clients get an error and ask again.
import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { EspalierError } from '#protocol';
import { JOB_MINUTES, type OrchestratorConfig } from '../config.js';
import { EngineNotReachedError } from '../engines/wire/engine-errors.js';
import { ORCHESTRATOR_CONFIG } from '../provider-names.js';
import type { EngineWorkbench } from './engine-workbench.js';
import type { WaitingJob } from './placement.js';

const LOOK_INTERVAL_MS = 1_000;

type Work<T> = (bench: EngineWorkbench, signal: AbortSignal) => Promise<T>;

/** The facts about a job that the placement needs, and the words that users see for it. */
export type JobWish = Pick<WaitingJob, 'runId' | 'needsOurFiles' | 'device'> & { doing: string };

/** The slot where a job waits. */
interface JobSlot {
  readonly name: string;
  /** The work of the slot before it starts a new job, in words. */
  readonly doing: string;
}

/** The outcome of a try: the engine got nothing of the job, or the job is over. */
type AttemptOutcome = 'notBegun' | 'over';

interface Job extends WaitingJob {
  doing: string;
  signal: AbortSignal;
  place: JobSlot | null;
  onPlaced(): void;
  /** A job that is not over can be run on another engine. */
  run(bench: EngineWorkbench, wanted: AbortSignal): Promise<AttemptOutcome>;
  refuse(error: unknown): void;
}

export interface SubmittedJob<T> {
  result: Promise<T>;
  /** The work that the job waits for, in words, or '' where it is not known. */
  readonly waitingFor: string;
}

@Injectable()
export class EngineJobs {
  private readonly queue: Job[] = [];
  /** The jobs under way. Each ends when its controller aborts, with the reason as its error. */
  private readonly underWay = new Set<AbortController>();
  private stoppedBy: EspalierError | null = null;
  private wake: () => void = () => undefined;
  private ids = 0;

  constructor(@Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'jobMinutes'> = { jobMinutes: JOB_MINUTES }) {}

  /** The listener is called when a job is added. */
  onAdded(listener: () => void): void {
    this.wake = listener;
  }

  /**
   * @param work done again from its beginning where the engine was cut off and is back within its lease
   * @param onPlaced called when the job has a slot, so that it is known what the job waits for
   */
  submit<T>(work: Work<T>, wish: JobWish, signal: AbortSignal, onPlaced: () => void = () => undefined): SubmittedJob<T> {
    this.ids += 1;
    const id = this.ids;
    let waits: () => string = () => '';
    const result = new Promise<T>((resolve, reject) => {
      const job: Job = {
        ...wish,
        id,
        signal,
        slot: null,
        place: null,
        onPlaced,
        run: async (bench, wanted) => {
          const { client, lost } = bench.engine;
          const { heardAtMs } = client;
          const ends = AbortSignal.any([signal, lost, wanted]);
          try {
            resolve(await client.onceBack(() => work(bench, ends), ends));
          } catch (error) {
            const hasBegun = !(error instanceof EngineNotReachedError) || client.heardAtMs !== heardAtMs;
            if (!hasBegun && !signal.aborted && !wanted.aborted) return 'notBegun';
            reject((wanted.aborted ? wanted.reason : error) as Error);
          }
          return 'over';
        },
        refuse: reject,
      };
      this.queue.push(job);
      waits = () => job.place?.doing ?? '';
      const leave = (): void => {
        const at = this.queue.indexOf(job);
        if (at >= 0) this.queue.splice(at, 1);
        reject(new EspalierError('CANCELLED', 'the client went away'));
      };
      signal.addEventListener('abort', leave, { once: true });
      if (this.stoppedBy !== null) this.refuseAll(this.stoppedBy);
      else if (signal.aborted) leave();
      else this.wake();
    });
    return {
      result,
      get waitingFor() {
        return waits();
      },
    };
  }

  /** The jobs that have not begun. */
  get waiting(): readonly WaitingJob[] {
    return this.queue;
  }

  assign(id: number, place: JobSlot): void {
    const job = this.queue.find((one) => one.id === id);
    if (job === undefined) return;
    Object.assign(job, { place, slot: place.name });
    job.onPlaced();
  }

  waitingAt(slot: string): number {
    return this.queue.filter(({ place }) => place?.name === slot).length;
  }

  /**
   * Does the jobs that wait at the slot, one after another. Where the engine is lost, those that have not begun go on waiting.
   * @param isWanted tells whether a run waits for the engine. A job that has held the engine for `jobMinutes` then gives way.
   * @param next the next work of the slot, in words
   */
  async runAllAt(
    slot: { readonly name: string; doing: string },
    bench: EngineWorkbench,
    isWanted: () => boolean,
    next = '',
  ): Promise<void> {
    while (!bench.engine.lost.aborted) {
      const job = this.takeAt(slot.name);
      if (job === null) break;
      slot.doing = job.doing;
      const tried = await this.runWhileAllowed(job, bench, isWanted);
      if (tried === 'over') continue;
      this.queue.unshift(job);
      // The end of the engine's process is noticed a little after its connection broke.
      await sleep(LOOK_INTERVAL_MS, undefined, { signal: bench.engine.lost }).catch(() => undefined);
      break;
    }
    slot.doing = next;
  }

  private async runWhileAllowed(job: Job, bench: EngineWorkbench, isWanted: () => boolean): Promise<AttemptOutcome> {
    const { jobMinutes } = this.config;
    const wanted = new AbortController();
    this.underWay.add(wanted);
    const beganMs = performance.now();
    const look = setInterval(() => {
      if (performance.now() - beganMs >= jobMinutes * 60_000 && isWanted()) wanted.abort(gaveWay(jobMinutes));
    }, LOOK_INTERVAL_MS);
    try {
      return await job.run(bench, wanted.signal);
    } finally {
      clearInterval(look);
      this.underWay.delete(wanted);
    }
  }

  refuseAt(slot: string, error: unknown): void {
    for (let job = this.takeAt(slot); job !== null; job = this.takeAt(slot)) job.refuse(error);
  }

  refuseAll(error: unknown): void {
    for (const job of this.queue.splice(0)) job.refuse(error);
  }

  /** Ends all jobs, those under way too, and refuses later ones, because the server stops. */
  stop(reason: EspalierError): void {
    this.stoppedBy = reason;
    this.refuseAll(reason);
    for (const job of this.underWay) job.abort(reason);
  }

  private takeAt(slot: string): Job | null {
    const at = this.queue.findIndex(({ place }) => place?.name === slot);
    const [job = null] = at < 0 ? [] : this.queue.splice(at, 1);
    return job;
  }
}

function gaveWay(minutes: number): EspalierError {
  return new EspalierError(
    'JOB_GAVE_WAY',
    `it held the engine for ${minutes} minutes, and a run waits for that engine; tasks that are done are recorded. ` +
      'Ask again with fewer tasks, a --limit or another engine; the server gives more time with ESPALIER_JOB_MINUTES',
  );
}

// Evaluations, exports, measurements of speed and verifications that go on without a client that waits. Their results are recorded in the
// run, so a server that ends loses only the jobs under way, and the next one lists these as lost.
import { randomUUID } from 'node:crypto';
import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import type { Logger } from 'pino';
import { EspalierError, toEspalierError, v1 } from '#protocol';
import type { CallContext } from '../event-sourcing/call-context.js';
import { LOGGER } from '../provider-names.js';
import { endsWithServer, jobLost, JobNotes } from './job-notes.js';
import type { Progress } from './work.js';

/** More jobs would only wait, since an engine does one after another. */
const MOST_UNDER_WAY = 64;
const MOST_ENDED = 100;
/**
 * The time to wait for a refusal. A wrong request is usually refused before the job waits for an engine; only reading a long text takes
 * longer.
 */
const REFUSAL_MS = 2_000;

export type Work = NonNullable<v1.StartJobRequest['work']>;

export interface BackgroundJob {
  readonly jobId: string;
  readonly runId: string;
  readonly work: Work;
  /** The caller, as events name it. */
  readonly startedBy: string;
  /** The name of a person who has logged in, or '' for other callers. */
  readonly startedByName: string;
  readonly startedAt: Date;
  state: 'running' | 'done' | 'cancelled' | 'failed';
  doneShare: number;
  doing: string;
  waitingFor: string;
  failure: EspalierError | null;
  endedAt: Date | null;
  result: JobResult | null;
}

export interface JobResult {
  evaluations?: v1.Evaluation[];
  export?: v1.ModelExport;
  speed?: v1.SpeedOutcome;
  verified?: v1.VerifySummary;
}

type Followed = AsyncGenerator<Progress<JobResult>>;

@Injectable()
export class BackgroundJobs implements OnModuleDestroy {
  /** The jobs in the order in which they were started. */
  private readonly jobs = new Map<string, { job: BackgroundJob; stop: AbortController }>();

  constructor(
    @Inject(LOGGER) private readonly log: Pick<Logger, 'info' | 'warn'>,
    @Inject(JobNotes) private readonly notes: Pick<JobNotes, 'lost' | 'isUnderWay' | 'hasEnded'>,
  ) {
    for (const { jobId, runId, request, startedBy, startedByName, startedAt } of notes.lost) {
      const { work } = v1.StartJobRequest.fromJSON(request);
      if (work === undefined) continue;
      const job = { ...newJob(runId, work, { actor: startedBy, actorName: startedByName }), jobId, startedAt: new Date(startedAt) };
      job.failure = jobLost();
      end(job, 'failed');
      this.jobs.set(jobId, { job, stop: new AbortController() });
    }
  }

  /**
   * @param begin does the work until its signal aborts
   * @throws EspalierError the error of the work, where it refuses the request at once
   */
  async start(runId: string, work: Work, by: CallContext, begin: (signal: AbortSignal) => Followed): Promise<BackgroundJob> {
    const underWay = [...this.jobs.values()].filter(({ job }) => job.state === 'running').length;
    if (underWay >= MOST_UNDER_WAY)
      throw new EspalierError(
        'TOO_MANY_CALLS',
        `${MOST_UNDER_WAY} jobs are under way or wait for an engine: cancel one, or try again later`,
      );
    const stop = new AbortController();
    const job = newJob(runId, work, by);
    const { jobId, startedBy, startedByName, startedAt } = job;
    const request = v1.StartJobRequest.toJSON({ work });
    this.notes.isUnderWay({ jobId, runId, request, startedBy, startedByName, startedAt: startedAt.toISOString() });
    this.jobs.set(job.jobId, { job, stop });
    await new Promise<void>((accept) => {
      const timer = setTimeout(accept, REFUSAL_MS);
      void this.follow(job, begin(stop.signal), stop.signal, () => {
        clearTimeout(timer);
        accept();
      });
    });
    if (job.failure !== null) {
      this.jobs.delete(job.jobId);
      throw job.failure;
    }
    this.forgetOld();
    return job;
  }

  /** The jobs, the latest first. */
  all(runId: string | null): BackgroundJob[] {
    return [...this.jobs.values()]
      .map(({ job }) => job)
      .filter((job) => runId === null || job.runId === runId)
      .reverse();
  }

  /** The caller who started the job, or undefined where there is no such job. */
  startedBy(jobId: string): string | undefined {
    return this.jobs.get(jobId)?.job.startedBy;
  }

  /** @throws EspalierError JOB_NOT_FOUND */
  cancel(jobId: string): BackgroundJob {
    const found = this.jobs.get(jobId);
    if (found === undefined) throw new EspalierError('JOB_NOT_FOUND', `the server has no job ${jobId} since its start`);
    const { job, stop } = found;
    if (job.state === 'running') {
      end(job, 'cancelled');
      this.notes.hasEnded(jobId);
      stop.abort();
    }
    return job;
  }

  /** The jobs end with the server. Their notes stay, so that the next server says which jobs are lost. */
  onModuleDestroy(): void {
    for (const { job, stop } of this.jobs.values()) {
      if (job.state !== 'running') continue;
      end(job, 'cancelled');
      stop.abort();
    }
  }

  /** Follows the news of a job. @param heard called at the first news and at the end */
  private async follow(job: BackgroundJob, news: Followed, signal: AbortSignal, heard: () => void): Promise<void> {
    const { jobId, runId } = job;
    const what = job.work.$case;
    try {
      for await (const one of news) {
        if (signal.aborted) return;
        applyNews(job, one);
        heard();
      }
      if (signal.aborted) return;
      end(job, 'done');
      this.log.info({ jobId, runId, what }, 'a job of a run is done');
    } catch (error) {
      if (signal.aborted) return;
      job.failure = toEspalierError(error);
      end(job, 'failed');
      this.log.warn({ jobId, runId, what, code: job.failure.code }, 'a job of a run failed');
    } finally {
      if (!signal.aborted && !endsWithServer(job.failure)) this.notes.hasEnded(jobId);
      heard();
    }
  }

  private forgetOld(): void {
    const ended = [...this.jobs.values()].filter(({ job }) => job.state !== 'running');
    for (const { job } of ended.slice(0, Math.max(0, ended.length - MOST_ENDED))) this.jobs.delete(job.jobId);
  }
}

const newJob = (runId: string, work: Work, by: Pick<CallContext, 'actor' | 'actorName'>): BackgroundJob => ({
  jobId: randomUUID(),
  runId,
  work,
  startedBy: by.actor,
  startedByName: by.actorName ?? '',
  startedAt: new Date(),
  state: 'running',
  doneShare: 0,
  doing: '',
  waitingFor: '',
  failure: null,
  endedAt: null,
  result: null,
});

function end(job: BackgroundJob, state: BackgroundJob['state']): void {
  job.state = state;
  job.waitingFor = '';
  job.doing = '';
  job.endedAt = new Date();
}

function applyNews(job: BackgroundJob, news: Progress<JobResult>): void {
  job.waitingFor = 'waitingFor' in news ? news.waitingFor : '';
  if ('doneShare' in news) [job.doneShare, job.doing] = [news.doneShare, news.doing];
  if ('result' in news) [job.doneShare, job.result] = [1, news.result];
}

// Evaluates the ladder of a run, rung by rung, as a job of the server that needs no waiting client. Each value is recorded at once, so a
// job that ends early has lost nothing, and the next one goes on from there.
import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import type { Logger } from 'pino';
import { EspalierError, invalidField, toEspalierError, v1 } from '#protocol';
import type { CallContext } from '../event-sourcing/call-context.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { ownPerplexity, sameMeasure } from '../pruning-run/record/measures.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { LOGGER } from '../provider-names.js';
import { endsWithServer, jobLost, JobNotes } from './job-notes.js';
import { RunServices } from './run-services.js';
import { loadPrepared } from '../measurements/subjects.js';

/** The request for one evaluation, without the run. */
export type Rung = Pick<v1.EvaluateRunRequest, 'intact' | 'teacherMark'>;

export interface LadderProgress {
  state: 'running' | 'done' | 'cancelled' | 'failed';
  models: number;
  evaluated: number;
  etaSeconds: number | undefined;
  waitingFor: string;
  failure: EspalierError | null;
}

/** The part of RunServices that evaluates. */
export interface Evaluates {
  evaluateRun: RunServices['evaluateRun'];
}

interface Job {
  progress: LadderProgress;
  /** The caller, as events name it; empty for a ladder that an earlier server has lost. */
  startedBy: string;
  stop: AbortController;
}

@Injectable()
export class Ladders implements OnModuleDestroy {
  private readonly jobs = new Map<string, Job>();

  constructor(
    @Inject(RunRepository) private readonly runs: Pick<RunRepository, 'load'>,
    @Inject(RunServices) private readonly services: Evaluates,
    @Inject(LOGGER) private readonly log: Pick<Logger, 'info' | 'warn'>,
    @Inject(JobNotes) private readonly notes: Pick<JobNotes, 'lost' | 'isUnderWay' | 'hasEnded'>,
  ) {
    for (const { runId, models, evaluated } of notes.lost('ladder')) {
      const progress: LadderProgress = { ...newProgress(models), state: 'failed', evaluated, failure: jobLost() };
      this.jobs.set(runId, { progress, startedBy: '', stop: new AbortController() });
    }
  }

  /**
   * @param every evaluate only each n-th teacher, and the last state
   * @throws EspalierError FIELD_REQUIRED where the run has no validation text
   */
  async start(runId: string, by: CallContext, every = 1): Promise<LadderProgress> {
    const run = await loadPrepared(this.runs, runId);
    const under = this.jobs.get(runId);
    if (under?.progress.state === 'running') return { ...under.progress };
    if (run.data.validationDigest === null)
      throw invalidField('FIELD_REQUIRED', 'run_id', `run ${runId} has no validation text, so its ladder can't be evaluated`);
    const rungs = missingRungs(run, every);
    const progress = newProgress(rungs.length);
    const job = { progress, startedBy: by.actor, stop: new AbortController() };
    this.jobs.set(runId, job);
    void this.climb(runId, rungs, job, by);
    return { ...progress };
  }

  /** The caller who started the ladder of the run, or undefined where there was none. */
  startedBy(runId: string): string | undefined {
    return this.jobs.get(runId)?.startedBy;
  }

  progressOf(runId: string): LadderProgress | undefined {
    const job = this.jobs.get(runId);
    return job && { ...job.progress };
  }

  /** Cancels the ladder of the run, the present evaluation included. */
  cancel(runId: string): LadderProgress | undefined {
    const job = this.jobs.get(runId);
    if (job?.progress.state === 'running') {
      job.progress.state = 'cancelled';
      this.notes.hasEnded(noteId(runId));
      job.stop.abort();
    }
    return this.progressOf(runId);
  }

  /** The ladders end with the server. Their notes stay, so that the next server says which ones are lost. */
  onModuleDestroy(): void {
    for (const { progress, stop } of this.jobs.values()) {
      if (progress.state !== 'running') continue;
      progress.state = 'cancelled';
      stop.abort();
    }
  }

  private async climb(runId: string, rungs: Rung[], { progress, stop }: Job, by: CallContext): Promise<void> {
    const beganMs = performance.now();
    const note = (): void =>
      this.notes.isUnderWay(noteId(runId), { kind: 'ladder', runId, models: rungs.length, evaluated: progress.evaluated });
    try {
      for (const rung of rungs) {
        note();
        await this.evaluate(runId, rung, progress, by, stop.signal);
        progress.evaluated += 1;
        const seconds = (performance.now() - beganMs) / 1_000;
        progress.etaSeconds = (seconds / progress.evaluated) * (rungs.length - progress.evaluated);
      }
      progress.state = 'done';
      this.log.info({ runId, models: rungs.length }, 'the ladder of a run is evaluated');
    } catch (error) {
      if (stop.signal.aborted) return;
      progress.state = 'failed';
      progress.failure = toEspalierError(error);
      this.log.warn({ runId, code: progress.failure.code, evaluated: progress.evaluated }, 'the ladder of a run could not be evaluated');
    } finally {
      if (!stop.signal.aborted && !endsWithServer(progress.failure)) this.notes.hasEnded(noteId(runId));
    }
  }

  private async evaluate(runId: string, rung: Rung, progress: LadderProgress, by: CallContext, signal: AbortSignal): Promise<void> {
    const request = v1.EvaluateRunRequest.fromPartial({ runId, ...rung });
    for await (const news of this.services.evaluateRun(request, runId, by, signal))
      progress.waitingFor = 'waitingFor' in news ? news.waitingFor : '';
  }
}

const noteId = (runId: string): string => `ladder of ${runId}`;

const newProgress = (models: number): LadderProgress => ({
  state: 'running',
  models,
  evaluated: 0,
  etaSeconds: undefined,
  waitingFor: '',
  failure: null,
});

type Ladder = Pick<PruningRunState, 'runId' | 'teachers' | 'current' | 'evaluations' | 'data' | 'settings'>;

/**
 * The rungs that have no value yet: the intact model, each n-th of the run's own teachers in their order, and the last state. Inherited
 * teachers are rungs of the parent's ladder.
 */
export function missingRungs(run: Ladder, every = 1): Rung[] {
  const measure = ownPerplexity(run);
  if (measure === null) return [];
  const isKnown = (subject: 'intact' | 'masked', stateDigest: string | null): boolean =>
    run.evaluations.some((one) => one.subject === subject && one.stateDigest === stateDigest && sameMeasure(one, measure));
  const isLast = (stateDigest: string): boolean => stateDigest === run.current?.stateDigest;
  const own = run.teachers.filter(({ ownerRunId }) => ownerRunId === run.runId);
  const teachers = own.filter(
    ({ state }, index) => (index % every === 0 || isLast(state.stateDigest)) && !isKnown('masked', state.stateDigest),
  );
  const isLastNew =
    run.current !== null && !isKnown('masked', run.current.stateDigest) && !own.some(({ state }) => isLast(state.stateDigest));
  return [
    ...(isKnown('intact', null) ? [] : [{ intact: true, teacherMark: undefined }]),
    ...teachers.map(({ mark }) => ({ intact: false, teacherMark: mark })),
    ...(isLastNew ? [{ intact: false, teacherMark: undefined }] : []),
  ];
}

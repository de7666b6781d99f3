// Evaluations and exports that clients ask for: chosen, done by the engine when it is free, recorded.
import { Inject, Injectable } from '@nestjs/common';
import { resolve } from 'node:path';
import type { ArtifactStore } from '#artifact-store';
import { EspalierError, invalidField, type engineV1, type v1 } from '#protocol';
import { ModelAndData } from '../run-commands/model-and-data.js';
import { artifactDiscarded, findDiscard } from '../pruning-run/aggregate/discarding.js';
import { RunError, runDeleted } from '../pruning-run/aggregate/pruning-run.errors.js';
import type { CallContext } from '../event-sourcing/call-context.js';
import { sameMeasure } from '../pruning-run/record/measures.js';
import type { RecordEvaluation } from '../pruning-run/aggregate/run-change.js';
import type { StateFact } from '../pruning-run/record/pruning-run.events.js';
import { isPrepared, type PruningRunState, type RecordedEvaluation, type RecordedExport } from '../pruning-run/aggregate/pruning-run.js';
import { digestStartingWith, requireDigestPrefix } from '../pruning-run/aggregate/short-digests.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { ARTIFACT_STORE } from '../tokens.js';
import { EngineJobs, type JobWish } from '../engine-pool/engine-jobs.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import { evaluate, type Subject } from './evaluations.js';
import { chooseExport } from './export-formats.js';
import { exportModel } from './exports.js';
import { computeDtypeOf, readTasks } from './task-requests.js';
import { digestOf, evaluateTasks } from './task-evaluations.js';
import { speedOptions } from './text-requests.js';
import { measureSpeed } from './texts.js';
import { RunFeed } from '../views/run-feed.js';
import { StateKeeper } from '../retention/state-keeper.js';

export type Progress<T> = { doneShare: number; doing: string } | { waitingFor: string } | { result: T };
type OnProgress = (doneShare: number, doing?: string) => void;
export interface Evaluated {
  run: PruningRunState;
  evaluation: RecordedEvaluation;
}
export interface TasksEvaluated {
  run: PruningRunState;
  evaluations: RecordedEvaluation[];
}

@Injectable()
export class RunServices {
  constructor(
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(EngineJobs) private readonly jobs: EngineJobs,
    @Inject(ModelAndData) private readonly sources: ModelAndData,
    @Inject(RunFeed) private readonly feed: RunFeed,
    @Inject(StateKeeper) private readonly keeper: StateKeeper,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
  ) {}

  async *evaluateRun(
    request: v1.EvaluateRunRequest,
    runId: string,
    by: CallContext,
    signal: AbortSignal,
  ): AsyncGenerator<Progress<Evaluated>> {
    const run = await this.runs.load(runId);
    if (!isPrepared(run)) throw new RunError('RUN_NOT_STARTED', `run ${runId} is not prepared yet`, run, 'run_id');
    const window = request.window === 0 ? run.settings.evaluationWindow : request.window;
    if (window < 2 || window > run.model.maxPositions) {
      throw invalidField('FIELD_OUT_OF_RANGE', 'window', `must be from 2 to the model's ${run.model.maxPositions} positions, is ${window}`);
    }
    const subject = subjectOf(run, request);
    const dataDigest =
      request.dataPath === ''
        ? run.data.validationDigest
        : await this.sources.prepareEvaluationData(request.dataPath, run.model, window, signal);
    if (dataDigest === null) throw invalidField('FIELD_REQUIRED', 'data_path', `is needed: run ${runId} has no validation data`);
    const pinned = subject.kind === 'masked' ? [subject.state.stateDigest] : [];
    const wish = { runId, needsOurFiles: subject.kind === 'export', doing: `an evaluation of run ${runId}` };
    yield* this.work(wish, pinned, signal, async (bench, onProgress, both) => {
      const evaluated = await evaluate(bench, this.artifacts, { run, subject, window, dataDigest }, onProgress, both);
      const dataPath = dataDigest === run.data.validationDigest ? {} : { dataPath: resolve(request.dataPath) };
      const after = (await this.runs.change(runId, { ...evaluated, ...dataPath }, { by })).run;
      return { run: after, evaluation: recordedAs(after, evaluated) };
    });
  }

  /** Questions are read and checked before an engine is waited for. A task that is done stays recorded, whatever becomes of the rest. */
  async *evaluateTasks(
    request: v1.EvaluateTasksRequest,
    runId: string,
    by: CallContext,
    signal: AbortSignal,
  ): AsyncGenerator<Progress<TasksEvaluated>> {
    const run = await this.runs.load(runId);
    if (!isPrepared(run)) throw new RunError('RUN_NOT_STARTED', `run ${runId} is not prepared yet`, run, 'run_id');
    const subject = subjectOf(run, request);
    const dtype = computeDtypeOf(request.computeDtype);
    const { tasks, means } = await readTasks(request, signal);
    const pinned = subject.kind === 'masked' ? [subject.state.stateDigest] : [];
    const wish = { runId, needsOurFiles: subject.kind === 'export', doing: `an evaluation of run ${runId}` };
    yield* this.work(wish, pinned, signal, async (bench, onProgress, both) => {
      const recorded: RecordEvaluation[] = [];
      let after = run;
      const record = async (facts: RecordEvaluation[], samples: Buffer | null): Promise<void> => {
        if (samples !== null) {
          const digest = digestOf(samples);
          await this.keeper.pin(digest);
          pinned.push(digest);
          await this.artifacts.put(samples, { mediaType: 'application/x-ndjson' });
        }
        for (const fact of facts) after = (await this.runs.change(runId, fact, { by })).run;
        await this.feed.seen(runId, after.revision);
        recorded.push(...facts);
      };
      await evaluateTasks(bench, this.artifacts, { run, subject, tasks, means, dtype }, record, onProgress, both);
      return { run: after, evaluations: recorded.map((fact) => recordedAs(after, fact)) };
    });
  }

  async *benchRun(request: v1.BenchRunRequest, runId: string, signal: AbortSignal): AsyncGenerator<Progress<engineV1.SpeedOutcome>> {
    const run = await this.runs.load(runId);
    if (!isPrepared(run)) throw new RunError('RUN_NOT_STARTED', `run ${runId} is not prepared yet`, run, 'run_id');
    const subject = subjectOf(run, { ...request, intact: false });
    if (subject.kind === 'intact') throw new Error('unreachable: the intact model is measured beside every other');
    const options = speedOptions(request, run.model.maxPositions);
    const pinned = subject.kind === 'masked' ? [subject.state.stateDigest] : [];
    const wish = { runId, needsOurFiles: subject.kind === 'export', doing: `a measurement of run ${runId}` };
    yield* this.work(wish, pinned, signal, (bench, onProgress, both) =>
      measureSpeed(bench, this.artifacts, run, subject, options, onProgress, both),
    );
  }

  async *exportRun(
    request: v1.ExportRunRequest,
    runId: string,
    by: CallContext,
    signal: AbortSignal,
  ): AsyncGenerator<Progress<RecordedExport>> {
    const choice = chooseExport(request);
    const run = await this.runs.load(runId);
    const { state, mark: teacherMark } = stateOf(run, request.teacherMark);
    const pinned = [state.stateDigest];
    const wish = { runId, needsOurFiles: false, doing: `an export of run ${runId}` };
    yield* this.work(wish, pinned, signal, async (bench, onProgress, both) => {
      const wanted = { ...choice, run, state, teacherMark, skipProof: request.skipProof };
      const exported = await exportModel(bench, this.artifacts, this.keeper, wanted, pinned, onProgress, both);
      const after = (await this.runs.change(runId, exported, { by })).run;
      await this.feed.seen(runId, after.revision); // what is recorded needs no pin
      return after.exports.findLast((one) => one.exportDigest === exported.exportDigest && one.stateDigest === exported.stateDigest)!;
    });
  }

  /** Yields what the engine is busy with, then the progress, then the result. Pinned artifacts stay until the end. */
  private async *work<T>(
    wish: JobWish,
    pinned: string[],
    signal: AbortSignal,
    work: (bench: EngineWorkbench, onProgress: OnProgress, signal: AbortSignal) => Promise<T>,
  ): AsyncGenerator<Progress<T>> {
    for (const digest of [...pinned]) await this.keeper.pin(digest);
    let done = { doneShare: 0, doing: '' };
    let started = false;
    let settled = false;
    let wake: () => void = () => undefined;
    const onProgress = (doneShare: number, doing = ''): void => {
      done = { doneShare, doing };
      wake();
    };
    const begin = (bench: EngineWorkbench, both: AbortSignal): Promise<T> => {
      started = true;
      wake();
      return work(bench, onProgress, both);
    };
    const job = this.jobs.submit(begin, wish, signal, () => wake());
    const { result } = job;
    const ended = result
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => {
        settled = true;
        wake();
      });
    try {
      let told: typeof done | string = '';
      while (!settled) {
        const woken = new Promise<void>((resolve) => {
          wake = resolve;
        });
        const news = started ? done : job.waitingFor;
        if (news !== told && news !== '') yield typeof news === 'string' ? { waitingFor: news } : news;
        told = news;
        if (!settled) await Promise.race([woken, tick()]);
      }
      yield { result: await result };
    } finally {
      void ended.then(() => pinned.forEach((digest) => this.keeper.release(digest)));
    }
  }
}

/** The last of the same subject, state and measure. */
function recordedAs(run: PruningRunState, fact: RecordEvaluation): RecordedEvaluation {
  return run.evaluations.findLast((one) => one.subject === fact.subject && one.stateDigest === fact.stateDigest && sameMeasure(one, fact))!;
}

const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 500).unref());

function stateOf(run: PruningRunState, mark: number | undefined): { state: StateFact; mark: number | null } {
  if (run.status === 'deleted') throw runDeleted(run);
  if (mark !== undefined) {
    const teacher = run.teachers.find((one) => one.mark === mark);
    const gone = findDiscard(run, ({ marks }) => marks.includes(mark));
    if (teacher === undefined && gone !== null) throw artifactDiscarded(run, gone, 'teacher_mark');
    if (teacher === undefined)
      throw new RunError(
        'TEACHER_NOT_FOUND',
        `run ${run.runId} has no teacher ${mark}: it has ${run.teachers.length}`,
        run,
        'teacher_mark',
      );
    return { state: teacher.state, mark };
  }
  if (run.current === null) throw new RunError('RUN_NOT_STARTED', `run ${run.runId} has no recorded state yet`, run, 'run_id');
  return { state: run.current, mark: null };
}

export function subjectOf(
  run: PruningRunState,
  { intact, exportDigest, teacherMark }: Pick<v1.EvaluateRunRequest, 'intact' | 'exportDigest' | 'teacherMark'>,
): Subject {
  const named = [intact, exportDigest !== '', teacherMark !== undefined].filter(Boolean).length;
  if (run.status === 'deleted') throw runDeleted(run);
  if (named > 1) throw invalidField('REQUEST_INVALID', 'intact', 'name one of intact, export_digest and teacher_mark');
  if (intact) return { kind: 'intact' };
  if (exportDigest !== '') {
    const digest = digestStartingWith(
      requireDigestPrefix(exportDigest, 'export_digest'),
      run.exports.map((one) => one.exportDigest),
      'export_digest',
    );
    const known = run.exports.find((one) => one.exportDigest === digest);
    if (known === undefined) {
      throw new EspalierError('EXPORT_NOT_FOUND', `run ${run.runId} has no export ${exportDigest}`, {
        violations: [
          {
            field: 'export_digest',
            description: `one of ${run.exports.map((one) => one.exportDigest).join(', ') || 'none so far'}`,
            code: 'EXPORT_NOT_FOUND',
          },
        ],
      });
    }
    const gone = findDiscard(run, ({ digest }) => digest === exportDigest);
    if (gone !== null) throw artifactDiscarded(run, gone, 'export_digest');
    const { step, stateDigest, teacherMark: mark } = known;
    return { kind: 'export', exportDigest: known.exportDigest, step, stateDigest, teacherMark: mark };
  }
  const { state, mark } = stateOf(run, teacherMark);
  return { kind: 'masked', state, teacherMark: mark };
}

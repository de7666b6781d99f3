// Evaluations and exports that clients ask for. The subject is chosen, a free engine does the work, and the result is recorded.
import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import type { Logger } from 'pino';
import { resolve } from 'node:path';
import type { ArtifactStore } from '#artifact-store';
import { EspalierError, invalidField, type v1 } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { ModelAndData } from '../run-inputs/model-and-data.js';
import type { CallContext } from '../event-sourcing/call-context.js';
import { sha256Hex } from '../event-sourcing/canonical-json.js';
import { firstTokensOf, sameMeasure } from '../pruning-run/record/measures.js';
import type { RecordEvaluation } from '../pruning-run/aggregate/pruning-run.decisions.js';
import type { PruningRunState, RecordedEvaluation, RecordedExport } from '../pruning-run/aggregate/pruning-run.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { ARTIFACT_STORE, LOGGER, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { EngineJobs } from '../engine-pool/engine-jobs.js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import { evaluate } from '../measurements/evaluations.js';
import { chooseExport } from '../exports/export-formats.js';
import { exportModel, type ExportParts } from '../exports/exports.js';
import { computeDtypeOf, tasksOf } from '../measurements/task-requests.js';
import { evaluateTasks } from '../measurements/task-evaluations.js';
import { clearExportFolders } from '../measurements/artifact-files.js';
import { jobOn, loadPrepared, measuredSubjectOf, stateOf, subjectOf } from '../measurements/subjects.js';
import { measureSpeed, speedFact, speedMessage, speedOptions } from './speed.js';
import { worked, type Progress } from './work.js';
import { RunFeed } from '../feed/run-feed.js';
import { StateKeeper } from '../retention/state-keeper.js';

export interface Evaluated {
  run: PruningRunState;
  evaluation: RecordedEvaluation;
}
export interface TasksEvaluated {
  run: PruningRunState;
  evaluations: RecordedEvaluation[];
}

@Injectable()
export class RunServices implements OnModuleInit {
  constructor(
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(EngineJobs) readonly jobs: EngineJobs,
    @Inject(EnginePool) private readonly pool: EnginePool,
    @Inject(ModelAndData) private readonly sources: ModelAndData,
    @Inject(RunFeed) private readonly feed: RunFeed,
    @Inject(StateKeeper) readonly keeper: StateKeeper,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'dataFolder'>,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  onModuleInit(): void {
    for (const path of clearExportFolders())
      this.log.info({ path }, 'a folder of an export was removed: the server that made it was killed');
  }

  /** @throws EspalierError where the run is not prepared yet */
  preparedRun(runId: string): Promise<PruningRunState> {
    return loadPrepared(this.runs, runId);
  }

  async *evaluateRun(
    request: v1.EvaluateRunRequest,
    runId: string,
    by: CallContext,
    signal: AbortSignal,
  ): AsyncGenerator<Progress<Evaluated>> {
    const run = await loadPrepared(this.runs, runId);
    const window = request.window === 0 ? run.settings.evaluationWindow : request.window;
    if (window < 2 || window > run.model.maxPositions) {
      throw invalidField('FIELD_OUT_OF_RANGE', 'window', `must be from 2 to the model's ${run.model.maxPositions} positions, is ${window}`);
    }
    const subject = measuredSubjectOf(run, request);
    const { dataPath: path, textColumn } = request;
    if (path === '' && textColumn !== '')
      throw invalidField('REQUEST_INVALID', 'text_column', `is "${textColumn}": it is for data_path, which is empty`);
    const text = path === '' ? null : await this.sources.prepareEvaluationData(path, textColumn, run, window, signal);
    const [dataDigest, validationTokens] =
      text === null ? [run.data.validationDigest, run.data.validationTokens] : [text.digest, text.tokenCount];
    if (dataDigest === null) throw invalidField('FIELD_REQUIRED', 'data_path', `is needed: run ${runId} has no validation data`);
    const isOwn = dataDigest === run.data.validationDigest;
    const evaluationTokens = request.tokens ?? (isOwn ? run.settings.evaluationTokens : 0);
    const settings = { evaluationWindow: window, evaluationTokens };
    const firstTokens = firstTokensOf({ settings, data: { validationTokens } });
    const { wish, pinned } = jobOn(subject, run, 'an evaluation');
    yield* worked(this, wish, pinned, signal, async (bench, onProgress, both) => {
      const evaluated = await evaluate(bench, this.artifacts, { run, subject, window, firstTokens, dataDigest }, onProgress, both);
      if (!isOwn) await this.keepNamed(dataDigest, pinned);
      const dataPath = isOwn ? {} : { dataPath: resolve(path) };
      const after = (await this.runs.change(runId, { ...evaluated, ...dataPath }, { by })).run;
      await this.feed.seen(runId, after.revision);
      return { run: after, evaluation: recordedAs(after, evaluated) };
    });
  }

  /**
   * Evaluates tasks. Questions are read and checked before the job waits for an engine. A task that is done stays recorded, even if the
   * rest fails.
   */
  async *evaluateTasks(
    request: v1.EvaluateTasksRequest,
    runId: string,
    by: CallContext,
    signal: AbortSignal,
  ): AsyncGenerator<Progress<TasksEvaluated>> {
    const run = await loadPrepared(this.runs, runId);
    const subject = subjectOf(run, request);
    const dtype = computeDtypeOf(request.computeDtype);
    const { tasks, means } = await tasksOf(request, signal);
    const { wish, pinned } = jobOn(subject, run, 'an evaluation');
    let after = run; // tasks that a try has recorded are known to the next one
    yield* worked(this, wish, pinned, signal, async (bench, onProgress, both) => {
      const recorded: RecordEvaluation[] = [];
      const record = async (facts: RecordEvaluation[], samples: Buffer | null): Promise<void> => {
        if (samples !== null) {
          const digest = sha256Hex(samples);
          await this.keeper.pin(digest);
          pinned.push(digest);
          await this.artifacts.put(samples, { mediaType: 'application/x-ndjson' });
        }
        for (const fact of facts) after = (await this.runs.change(runId, fact, { by })).run;
        await this.feed.seen(runId, after.revision);
        recorded.push(...facts);
      };
      await evaluateTasks(bench, this.artifacts, { run: after, subject, tasks, means, dtype }, record, onProgress, both);
      return { run: after, evaluations: recorded.map((fact) => recordedAs(after, fact)) };
    });
  }

  async *benchRun(
    request: v1.BenchRunRequest,
    runId: string,
    by: CallContext,
    signal: AbortSignal,
  ): AsyncGenerator<Progress<v1.SpeedOutcome>> {
    const run = await loadPrepared(this.runs, runId);
    const subject = subjectOf(run, { ...request, intact: false });
    if (subject.kind === 'intact') throw new Error('unreachable: the intact model is measured beside every other');
    const options = speedOptions(request, run.model);
    const { wish, pinned } = jobOn(subject, run, 'a measurement');
    const format = subject.kind === 'export' ? '' : request.format || 'hf-remote';
    yield* worked(this, wish, pinned, signal, async (bench, onProgress, both) => {
      const measured = await measureSpeed(bench, this.artifacts, run, subject, options, onProgress, both);
      const after = (await this.runs.change(runId, speedFact(measured, subject, options, bench), { by })).run;
      await this.feed.seen(runId, after.revision);
      return speedMessage(measured, format);
    });
  }

  async *exportRun(
    request: v1.ExportRunRequest,
    runId: string,
    by: CallContext,
    signal: AbortSignal,
  ): AsyncGenerator<Progress<RecordedExport>> {
    const run = await this.runs.load(runId);
    const choice = chooseExport(request, run.model.architecture);
    const { state, mark: teacherMark } = stateOf(run, request.teacherMark);
    const pinned = [state.stateDigest];
    const wish = { runId, needsOurFiles: false, doing: `an export of run ${runId}` };
    yield* worked(this, wish, pinned, signal, async (bench, onProgress, both) => {
      const { artifacts, keeper, config, pool } = this;
      const parts: ExportParts = { askOwn: (ask) => pool.question(ask), artifacts, keeper, dataFolder: config.dataFolder };
      const wanted = { ...choice, run, state, skipProof: request.skipProof };
      const { step, stateDigest } = state;
      const made = await exportModel(parts, bench, wanted, pinned, onProgress, both);
      const exported = { kind: 'recordExport', ...made, step, stateDigest, teacherMark } as const;
      const after = (await this.runs.change(runId, exported, { by })).run;
      await this.feed.seen(runId, after.revision); // recorded artifacts need no pin
      return after.exports.findLast((one) => one.exportDigest === exported.exportDigest && one.stateDigest === exported.stateDigest)!;
    });
  }

  /** Pins the tokens of a text. Another run may have the same text and be deleted before the evaluation that names it is recorded. */
  private async keepNamed(digest: string, pinned: string[]): Promise<void> {
    pinned.push(digest);
    await this.keeper.pin(digest);
    if ((await this.artifacts.stat(digest)) !== null) return;
    const tokens = digest.slice(0, 12);
    throw new EspalierError('ARTIFACT_MISSING', `the tokens ${tokens} were thrown away while they were evaluated on; evaluate again`);
  }
}

/** Returns the last recorded evaluation of the same subject, state and measure. */
function recordedAs(run: PruningRunState, fact: RecordEvaluation): RecordedEvaluation {
  return run.evaluations.findLast((one) => one.subject === fact.subject && one.stateDigest === fact.stateDigest && sameMeasure(one, fact))!;
}

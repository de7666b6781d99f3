// Evaluations, measurements of speed and exports of a model without a run. Each is recorded under the digest of the model's weights.
import { Inject, Injectable } from '@nestjs/common';
import { resolve } from 'node:path';
import type { ArtifactStore } from '#artifact-store';
import { invalidField, type v1 } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { EngineJobs, type JobWish } from '../engine-pool/engine-jobs.js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import type { CallContext } from '../event-sourcing/call-context.js';
import { evaluate } from '../measurements/evaluations.js';
import { wishWithoutRun, type ModelAlone } from '../measurements/subjects.js';
import { evaluateTasks } from '../measurements/task-evaluations.js';
import { computeDtypeOf, tasksOf } from '../measurements/task-requests.js';
import { exportModel, type ExportParts } from '../exports/exports.js';
import { chooseExport } from '../exports/export-formats.js';
import type { ModelEvaluation, ModelExportFact } from '../models/model.events.js';
import { ModelRepository } from '../models/model-repository.js';
import { ModelReader } from '../models/read-model.js';
import { ARTIFACT_STORE, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import type { RecordEvaluation } from '../pruning-run/aggregate/pruning-run.decisions.js';
import { firstTokensOf, sameMeasure } from '../pruning-run/record/measures.js';
import { StateKeeper } from '../retention/state-keeper.js';
import { ModelAndData } from '../run-inputs/model-and-data.js';
import { measureModelSpeed, modelSpeedFact, speedMessage, speedOptions } from './speed.js';
import { worked, type Progress } from './work.js';

/** The length of windows, as a run's default is. */
const WINDOW = 256;
const INTACT = { kind: 'intact' } as const;

export type EvaluatedModel = ModelEvaluation & { at: string };
export type ExportedAlone = ModelExportFact & { at: string };

@Injectable()
export class ModelServices {
  constructor(
    @Inject(ModelReader) private readonly reader: ModelReader,
    @Inject(ModelRepository) private readonly models: ModelRepository,
    @Inject(ModelAndData) private readonly sources: ModelAndData,
    @Inject(EngineJobs) readonly jobs: EngineJobs,
    @Inject(EnginePool) private readonly pool: EnginePool,
    @Inject(StateKeeper) readonly keeper: StateKeeper,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'dataFolder'>,
  ) {}

  async *evaluate(request: v1.EvaluateRunRequest, by: CallContext, signal: AbortSignal): AsyncGenerator<Progress<EvaluatedModel>> {
    requireNoRun(request);
    if (request.unstructured !== undefined)
      throw invalidField('REQUEST_INVALID', 'model_path', 'a model without a run is measured as it is: no unstructured');
    if (request.dataPath === '') throw invalidField('FIELD_REQUIRED', 'data_path', 'is needed with model_path: a text to measure');
    const model = await this.reader.read(request.modelPath, signal);
    const { maxPositions } = model.model;
    const window = request.window === 0 ? Math.min(WINDOW, maxPositions) : request.window;
    if (window < 2 || window > maxPositions)
      throw invalidField('FIELD_OUT_OF_RANGE', 'window', `must be from 2 to the model's ${maxPositions} positions, is ${window}`);
    const text = await this.sources.prepareEvaluationData(request.dataPath, request.textColumn, model, window, signal);
    const settings = { evaluationWindow: window, evaluationTokens: request.tokens ?? 0 };
    const firstTokens = firstTokensOf({ settings, data: { validationTokens: text.tokenCount } });
    yield* worked(this, wishOf(model), [text.digest], signal, async (bench, onProgress, both) => {
      const asked = { run: model, subject: INTACT, window, firstTokens, dataDigest: text.digest };
      const fact = await evaluate(bench, this.artifacts, asked, onProgress, both);
      return this.record(model, { ...fact, dataPath: resolve(request.dataPath) }, by);
    });
  }

  /** A task whose values are recorded already is not computed again. */
  async *evaluateTasks(request: v1.EvaluateTasksRequest, by: CallContext, signal: AbortSignal): AsyncGenerator<Progress<EvaluatedModel[]>> {
    requireNoRun(request);
    const dtype = computeDtypeOf(request.computeDtype);
    const { tasks, means } = await tasksOf(request, signal);
    const model = await this.reader.read(request.modelPath, signal);
    yield* worked(this, wishOf(model), [], signal, async (bench, onProgress, both) => {
      const recorded: EvaluatedModel[] = [];
      const record = async (facts: RecordEvaluation[]): Promise<void> => {
        for (const fact of facts) recorded.push(await this.record(model, fact, by));
      };
      await evaluateTasks(bench, this.artifacts, { run: model, subject: INTACT, tasks, means, dtype }, record, onProgress, both);
      return recorded;
    });
  }

  async *bench(request: v1.BenchRunRequest, by: CallContext, signal: AbortSignal): AsyncGenerator<Progress<v1.SpeedOutcome>> {
    requireNoRun({ ...request, intact: false });
    const { model } = await this.reader.read(request.modelPath, signal);
    const options = speedOptions(request, model);
    const { weightsDigest, path } = model;
    yield* worked(this, wishOf({ model }, 'a measurement'), [], signal, async (bench, onProgress, both) => {
      const measured = await measureModelSpeed(bench, path, options, onProgress, both);
      const speed = modelSpeedFact(measured, options, bench);
      await this.models.change({ kind: 'recordSpeed', weightsDigest, path, speed }, { by });
      return speedMessage(measured, request.format || 'hf-remote');
    });
  }

  async *export(request: v1.ExportRunRequest, by: CallContext, signal: AbortSignal): AsyncGenerator<Progress<ExportedAlone>> {
    requireNoRun({ ...request, intact: false, exportDigest: '' });
    const run = await this.reader.read(request.modelPath, signal);
    const { weightsDigest, path, architecture } = run.model;
    const wanted = { ...chooseExport(request, architecture), run, state: null, skipProof: request.skipProof };
    const pinned: string[] = [];
    yield* worked(this, wishOf(run, 'an export'), pinned, signal, async (bench, onProgress, both) => {
      const { artifacts, keeper, config, pool } = this;
      const parts: ExportParts = { askOwn: (ask) => pool.question(ask), artifacts, keeper, dataFolder: config.dataFolder };
      const exported = await exportModel(parts, bench, wanted, pinned, onProgress, both);
      const { exports } = await this.models.change({ kind: 'recordExport', weightsDigest, path, export: exported }, { by });
      return exports.at(-1)!;
    });
  }

  private async record({ model }: ModelAlone, fact: RecordEvaluation, by: CallContext): Promise<EvaluatedModel> {
    const { kind, samplesDigest: _, ...evaluation } = fact;
    const { weightsDigest, path } = model;
    const { evaluations } = await this.models.change({ kind, weightsDigest, path, evaluation }, { by });
    return evaluations.findLast((one) => sameMeasure(one, evaluation))!;
  }
}

const wishOf = ({ model }: Pick<ModelAlone, 'model'>, what = 'an evaluation'): JobWish => wishWithoutRun(`${what} of ${model.path}`);

/** A model without a run has no states and no exports. @throws EspalierError REQUEST_INVALID */
export function requireNoRun(request: Pick<v1.EvaluateTasksRequest, 'runId' | 'intact' | 'exportDigest' | 'teacherMark'>): void {
  const { runId, intact, exportDigest, teacherMark } = request;
  if (runId !== '' || intact || exportDigest !== '' || teacherMark !== undefined)
    throw invalidField('REQUEST_INVALID', 'model_path', 'names the model: leave out run_id, intact, export_digest and teacher_mark');
}

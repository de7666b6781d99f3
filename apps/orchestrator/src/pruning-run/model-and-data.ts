// What a run is made from, looked at before it is accepted, so that whatever is wrong with it is said at once.
import { Inject, Injectable } from '@nestjs/common';
import { resolve } from 'node:path';
import type { ArtifactStore } from '#artifact-store';
import { prepareTokens } from '#model-files';
import { EspalierError, invalidField, invalidRequest, toEspalierError, type engineV1 } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { sessionOptions } from '../run-execution/engine-requests.js';
import { ARTIFACT_STORE, ORCHESTRATOR_CONFIG } from '../tokens.js';
import { EngineSupervisor } from '../run-execution/engine-supervisor.js';
import type { DataIdentity, ModelIdentity, RunSettings } from './pruning-run.events.js';
import type { PruningRunState } from './pruning-run.state.js';
import { resolveSettings, settingsViolations, type RequestedSettings } from './run-settings.js';

export interface RunPlan {
  model: ModelIdentity;
  settings: RunSettings; // complete
  memory: engineV1.PlanMemoryResponse;
}

export interface DataSource {
  trainPath: string;
  validationPath: string; // '' : none
}

@Injectable()
export class ModelAndData {
  constructor(
    @Inject(EngineSupervisor) private readonly engines: EngineSupervisor,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: OrchestratorConfig,
  ) {}

  /** What a request would make a run of. @throws EspalierError with all that is wrong with the settings, or with the engine's code */
  async plan(modelPath: string, requested: RequestedSettings): Promise<RunPlan> {
    const early = settingsViolations(resolveSettings(requested));
    if (early.length > 0) throw invalidRequest(early);
    const { client } = await this.engines.acquire();
    const path = resolve(modelPath);
    const model = modelIdentity(path, await client.inspectModel(path));
    const settings = resolveSettings(requested, model);
    const violations = settingsViolations(settings, model);
    if (violations.length > 0) throw invalidRequest(violations);
    return { model, settings, memory: await client.planMemory(sessionOptions({ settings, model }, this.config.threads)) };
  }

  /** Tokenizes what has not been tokenized before. */
  async prepareData(source: DataSource, model: ModelIdentity, settings: RunSettings, signal: AbortSignal): Promise<DataIdentity> {
    const prepare = (path: string, dataField: string) =>
      prepareTokens({
        modelPath: model.path,
        dataPath: path,
        dataField,
        vocabularySize: model.vocabularySize,
        store: this.artifacts,
        signal,
      });
    const trainPath = resolve(source.trainPath);
    const train = await prepare(trainPath, 'data.train_path');
    const needed = settings.batchSize * settings.sequenceLength;
    requireTokens(train.tokenCount, needed, 'data.train_path', 'a batch (batch_size times sequence_length)');
    const validationPath = source.validationPath === '' ? null : resolve(source.validationPath);
    const validation = validationPath === null ? null : await prepare(validationPath, 'data.validation_path');
    if (validation !== null)
      requireTokens(validation.tokenCount, settings.evaluationWindow, 'data.validation_path', 'a window (evaluation_window)');
    return {
      trainPath,
      trainDigest: train.digest,
      trainTokens: train.tokenCount,
      validationPath,
      validationDigest: validation?.digest ?? null,
      validationTokens: validation?.tokenCount ?? 0,
      tokenizerDigest: train.tokenizerDigest,
    };
  }

  /** The same artifact again, from the text it was made of. @throws `damage`, with what keeps it from being mended */
  async remakeTokens(
    { runId, model, data }: PruningRunState,
    part: 'train' | 'validation',
    damage: EspalierError,
    signal: AbortSignal,
  ): Promise<void> {
    const [path, digest] = part === 'train' ? [data.trainPath, data.trainDigest] : [data.validationPath!, data.validationDigest!];
    const lost = (why: string): EspalierError =>
      new EspalierError(
        damage.code,
        `the ${part} tokens of run ${runId} are damaged (${damage.message}) and can't be made again from ${path}: ${why}`,
      );
    await this.artifacts.delete(digest); // so that the remembered one is not taken for whole
    const made = await prepareTokens({
      modelPath: model.path,
      dataPath: path,
      vocabularySize: model.vocabularySize,
      store: this.artifacts,
      signal,
    }).catch((error: unknown) => {
      throw lost(toEspalierError(error).message);
    });
    if (made.digest !== digest) throw lost(`it gives tokens ${made.digest} now, not ${digest}`);
  }

  /** Tokens of other data, for one evaluation. */
  async prepareEvaluationData(path: string, model: ModelIdentity, window: number, signal: AbortSignal): Promise<string> {
    const { digest, tokenCount } = await prepareTokens({
      modelPath: model.path,
      dataPath: resolve(path),
      dataField: 'data_path',
      vocabularySize: model.vocabularySize,
      store: this.artifacts,
      signal,
    });
    requireTokens(tokenCount, window, 'data_path', 'a window');
    return digest;
  }
}

/** @throws EspalierError OUT_OF_MEMORY */
export function requireMemory({ settings, memory: { totalBytes, availableBytes, activationsBytes } }: RunPlan): void {
  if (totalBytes <= availableBytes) return;
  const { batchSize, sequenceLength, checkpointActivations } = settings;
  const less = `a smaller batch_size or sequence_length${checkpointActivations ? '' : ', or checkpoint_activations,'} needs less`;
  const description =
    `${batchSize} sequences of ${sequenceLength} tokens need ${totalBytes} bytes (${activationsBytes} of them activations), ` +
    `the engine's machine has ${availableBytes}; ${less}`;
  throw new EspalierError('OUT_OF_MEMORY', description, {
    violations: [{ field: 'settings.batch_size', description, code: 'OUT_OF_MEMORY' }],
  });
}

function requireTokens(count: number, needed: number, field: string, what: string): void {
  if (count < needed) throw invalidField('DATA_TOO_SHORT', field, `holds ${count} tokens; ${what} takes ${needed}`);
}

function modelIdentity(path: string, model: engineV1.ModelDescription): ModelIdentity {
  return {
    path,
    weightsDigest: model.weightsDigest,
    architecture: model.architecture,
    parameterCount: Number(model.parameterCount),
    prunableParameterCount: Number(model.prunableParameterCount),
    weightBytes: Number(model.weightBytes),
    hiddenSize: Number(model.hiddenSize),
    vocabularySize: Number(model.vocabSize),
    maxPositions: Number(model.maxPositions),
    layers: model.layers.map((layer) => ({ heads: Number(layer.heads), units: Number(layer.intermediate) })),
  };
}

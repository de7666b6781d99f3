// Reads a model that is measured without a run, with the values that are recorded of its weights.
import { Inject, Injectable } from '@nestjs/common';
import { resolve } from 'node:path';
import { requireTokenizer } from '#model-files';
import { EnginePool } from '../engine-pool/engine-pool.js';
import type { ModelAlone } from '../measurements/subjects.js';
import { ModelRepository } from './model-repository.js';

@Injectable()
export class ModelReader {
  constructor(
    @Inject(EnginePool) private readonly engines: EnginePool,
    @Inject(ModelRepository) private readonly models: ModelRepository,
  ) {}

  /** @throws EspalierError with the engine's code where it can't read the model */
  async read(modelPath: string, signal: AbortSignal): Promise<ModelAlone> {
    const path = resolve(modelPath);
    const described = await this.engines.question((engine) => engine.inspectModel(path, { skipWeights: false, signal }));
    await requireTokenizer(path);
    const { weightsDigest, architecture, vocabSize, maxPositions } = described;
    const evaluations = (await this.models.find(weightsDigest))?.evaluations ?? [];
    return {
      runId: '',
      model: { path, weightsDigest, architecture, vocabularySize: Number(vocabSize), maxPositions: Number(maxPositions) },
      data: { tokenizerDigest: '' },
      evaluations: evaluations.map((one) => ({ ...one, abandoned: false })),
      discarded: [],
    };
  }
}

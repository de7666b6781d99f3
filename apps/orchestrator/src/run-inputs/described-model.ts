// A model as the engine describes it, in the words of runs and of their costs.
import type { engineV1 } from '#protocol';
import { blockGatesOf } from '../pruning-run/method/gates.js';
import type { ModelShape } from '../pruning-run/method/model-cost.js';
import type { ModelIdentity, RunSettings } from '../pruning-run/record/pruning-run.events.js';

export function modelShape(model: engineV1.ModelDescription): ModelShape {
  return {
    layers: Number(model.layerCount),
    heads: Number(model.headCount),
    kvHeads: Number(model.kvHeadCount),
    units: Number(model.intermediateSize),
    hiddenSize: Number(model.hiddenSize),
    headDim: Number(model.headDim),
    vocabularySize: Number(model.vocabSize),
    tiedEmbeddings: model.tiedEmbeddings,
    parameterCount: Number(model.parameterCount),
    weightBytes: Number(model.weightBytes),
    architecture: model.architecture,
    ggufHeaderBytes: 0,
  };
}

export function modelIdentity(path: string, model: engineV1.ModelDescription, settings: Pick<RunSettings, 'gates'>): ModelIdentity {
  const { kvGroup, attention } = blockGatesOf(settings);
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
    ...(kvGroup || attention ? { kvHeads: Number(model.kvHeadCount) } : {}),
  };
}

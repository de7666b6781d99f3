// A model as the engine describes it, in the words of runs and of their costs.
import { EspalierError, type engineV1 } from '#protocol';
import { blockGatesOf } from '../pruning-run/method/gates.js';
import { TENSOR_KINDS, type ModelShape, type TensorCount } from '../pruning-run/method/model-cost.js';
import type { ModelIdentity, RunSettings } from '../pruning-run/record/pruning-run.events.js';

const KINDS: readonly string[] = TENSOR_KINDS;
const PARTS: Record<string, TensorCount['part'] | undefined> = { head: 'head', kv_head: 'kv', unit: 'unit', none: 'rest' };

/** @throws EspalierError for counts that are not those of the model */
function tensorCounts(model: engineV1.ModelDescription): TensorCount[] {
  const counts = model.tensors.flatMap(({ kind, part, parameters, bytes }): TensorCount[] => {
    const shrinksWith = PARTS[part];
    if (!KINDS.includes(kind) || shrinksWith === undefined) return [];
    return [{ kind: kind as TensorCount['kind'], part: shrinksWith, parameters: Number(parameters), bytes: Number(bytes) }];
  });
  if (counts.reduce((sum, { parameters }) => sum + parameters, 0) === Number(model.parameterCount)) return counts;
  throw new EspalierError('ENGINE_FAILED', 'the engine counts the tensors of the model otherwise than its parameters');
}

export function modelShape(model: engineV1.ModelDescription): ModelShape {
  return {
    layers: Number(model.layerCount),
    heads: Number(model.headCount),
    kvHeads: Number(model.kvHeadCount),
    units: Number(model.intermediateSize),
    hiddenSize: Number(model.hiddenSize),
    headDim: Number(model.headDim),
    vocabularySize: Number(model.vocabSize),
    tensors: tensorCounts(model),
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

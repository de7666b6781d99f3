// Size and speed of the model that a run will come to, or has come to, as far as shapes say; pure.
import type { ModelIdentity, RunSettings } from '../record/pruning-run.events.js';
import type { SettingsWarning } from './target-sparsity.js';

export interface ResultEstimate {
  parameterCount: number;
  /** Multiplications of a token with weights, as a share of the dense model's. */
  multiplicationShare: number;
}

type Model = Pick<ModelIdentity, 'parameterCount' | 'prunableParameterCount' | 'hiddenSize' | 'vocabularySize'>;

/** From here on nobody will notice. */
const HARDLY_FEWER = 0.95;

/**
 * @param sparsity share of the parameters of all projections that is gone
 * @param hiddenShare of hidden units that are open: embeddings and the head have a column each. Before a run it is not known: 1 is most.
 */
export function resultEstimate(model: Model, sparsity: number, hiddenShare = 1): ResultEstimate {
  const projections = model.prunableParameterCount;
  const left = projections * (1 - sparsity);
  const head = model.hiddenSize * model.vocabularySize;
  return {
    parameterCount: Math.round(left + (model.parameterCount - projections) * hiddenShare),
    multiplicationShare: (left + head * hiddenShare) / (projections + head),
  };
}

export function resultWarnings({ multiplicationShare }: ResultEstimate, { targetSparsity }: RunSettings): SettingsWarning[] {
  if (multiplicationShare <= HARDLY_FEWER) return [];
  const share = (multiplicationShare * 100).toFixed(0);
  const sparsity = (targetSparsity * 100).toFixed(1);
  return [
    {
      code: 'HARDLY_QUICKER',
      field: 'settings.target_sparsity',
      message:
        `at ${sparsity}% a token will still take ${share}% of the dense model's multiplications, ` +
        'so the result will hardly be quicker: a higher target_sparsity makes it so',
    },
  ];
}

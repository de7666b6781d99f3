// The size of a run's pruned model, before or after its training. Everywhere it means the size of the export in the format hf-remote. The
// engine counts it for each recorded state. Before a run it is estimated. All functions are pure.
import { aboutBudget } from '../method/budget.js';
import type { Budget, ModelIdentity, RunSettings, StateFact } from '../record/pruning-run.events.js';
import type { SettingsWarning } from './target-sparsity.js';

export interface ResultSize {
  parameterCount: number;
  /** The multiplications of a token with weights, as a share of the dense model's. */
  multiplicationShare: number;
  bytes: number;
  estimated: boolean;
}

type Model = Pick<ModelIdentity, 'parameterCount' | 'prunableParameterCount' | 'weightBytes' | 'hiddenSize' | 'vocabularySize'>;

/** The part of a state from which its size follows. */
export type SizedState = Pick<StateFact, 'size'>;

/** Above this share of the dense model's multiplications, users notice no gain in speed. */
const HARDLY_FEWER = 0.95;

/** The multiplications of a token in the dense model: with all projections and with the head. */
const denseMultiplications = (model: Model): number => model.prunableParameterCount + model.hiddenSize * model.vocabularySize;

export function resultSize(model: Model, { size }: SizedState): ResultSize {
  const { parameterCount, multiplications, bytes } = size;
  return { parameterCount, multiplicationShare: multiplications / denseMultiplications(model), bytes, estimated: false };
}

/** The size of the last state; null before there is one. */
export const sizeOf = ({ model, current }: { model: Model; current: SizedState | null }): ResultSize | null =>
  current === null || model.parameterCount === 0 ? null : resultSize(model, current);

/** The share of the model's parameters that is gone as it is exported: the sparsity by which runs with different targets compare. */
export function shareGone(run: { model: Model; current: SizedState | null }): number | null {
  const size = sizeOf(run);
  return size === null ? null : 1 - size.parameterCount / run.model.parameterCount;
}

/**
 * @param sparsity the share of the parameters of all projections that is gone
 * @param hiddenShare the share of hidden units that are open. The embeddings and the head have a column for each. Before a run it is not
 * known, and 1 gives the largest size.
 */
export function estimatedSize(model: Model, sparsity: number, hiddenShare = 1): ResultSize {
  const projections = model.prunableParameterCount;
  const left = projections * (1 - sparsity);
  const parameterCount = Math.round(left + (model.parameterCount - projections) * hiddenShare);
  const head = model.hiddenSize * model.vocabularySize;
  return {
    parameterCount,
    multiplicationShare: (left + head * hiddenShare) / denseMultiplications(model),
    bytes: Math.round((model.weightBytes / model.parameterCount) * parameterCount),
    estimated: true,
  };
}

export function resultWarnings(
  { multiplicationShare }: ResultSize,
  { targetSparsity }: Pick<RunSettings, 'targetSparsity'>,
  budget: Budget | null,
): SettingsWarning[] {
  if (multiplicationShare <= HARDLY_FEWER) return [];
  const share = (multiplicationShare * 100).toFixed(0);
  const sparsity = (targetSparsity * 100).toFixed(1);
  const field = budget === null ? 'target_sparsity' : aboutBudget(budget).field;
  return [
    {
      code: 'HARDLY_QUICKER',
      field: `settings.${field}`,
      message:
        `at ${sparsity}% a token will still take ${share}% of the dense model's multiplications, ` +
        `so the result will hardly be quicker: ${budget === null ? 'a higher target_sparsity' : `a smaller ${field}`} makes it so`,
    },
  ];
}

export const encodeSized = ({ size }: SizedState): string => JSON.stringify({ size });
export const decodeSized = (text: string): SizedState => JSON.parse(text) as SizedState;

// The quantities that a run records at each step, as charts show them.
import { LOSSES } from '../../../../../libs/comparison/src/index.js';
import { RecoverWeights, type RunSettings } from '../../generated/espalier/v1/common_pb.js';
import type { Picture } from '../../ui/charts/picture.js';

const losses = Object.values(LOSSES).map(({ field, title, unit }): [string, Picture] => [
  field,
  { title, yName: unit === '' ? 'loss' : `loss, ${unit}`, isNoisy: true },
]);

/** By the names of QueryCurves. */
export const QUANTITIES: Readonly<Record<string, Picture>> = {
  loss: { title: 'Loss', yName: 'loss, nats', isNoisy: true },
  ...Object.fromEntries(losses),
  expected_sparsity: { title: 'Expected sparsity', yName: 'closed share', isShare: true },
  hard_sparsity: { title: 'Hard sparsity', yName: 'closed share', isShare: true },
  scheduled_sparsity: { title: 'Scheduled sparsity', yName: 'closed share', isShare: true },
  parameters: { title: 'Parameters left', yName: 'parameters' },
  open_heads: { title: 'Open heads', yName: 'heads' },
  open_units: { title: 'Open units', yName: 'units' },
  open_hidden: { title: 'Open hidden units', yName: 'hidden units' },
  lora_learning_rate: { title: 'Learning rate', yName: 'rate' },
  tokens_per_second: { title: 'Speed', yName: 'tokens a second' },
  gradient_norm: { title: 'Gradient norm', yName: 'norm', isNoisy: true },
  lagrangian: { title: 'Lagrangian', yName: 'value' },
  lambda1: { title: 'Lagrangian, λ₁', yName: 'λ₁' },
  lambda2: { title: 'Lagrangian, λ₂', yName: 'λ₂' },
};

/** Says whose learning rate it is: LoRA's, or in a recovery that of the model's own weights. */
export function learnersOf({ totalSteps = 1, recoverSteps = 0, recoverWeights }: Learning): string {
  if (recoverSteps === 0 || recoverWeights === RecoverWeights.LORA) return 'of LoRA';
  return totalSteps === 0 ? 'of own weights' : 'of LoRA, then of own weights';
}
type Learning = Pick<RunSettings, 'totalSteps' | 'recoverSteps' | 'recoverWeights'>;

/** Only recorded states have these values, so the line of one goes on from state to state. */
export const isOfStates = (quantity: string): boolean => quantity === 'hard_sparsity' || quantity === 'parameters';

export const QUANTITY_TITLES: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(QUANTITIES).map(([quantity, { title }]) => [quantity, title]),
);

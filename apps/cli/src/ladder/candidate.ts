// A model of a ladder, its name, and the choice of the smallest one that is good enough.
import type { SpeedUp } from '#comparison';

export interface Candidate {
  /** The teacher's mark; 'last': the run's last state, if it is not a teacher; null: the model before pruning. */
  mark: number | 'last' | null;
  /** The share of the intact model's parameters that the export lacks. */
  sparsity: number;
  perplexity: number;
  /** The parameters in the model's export. */
  parameters: number;
  bytes: number;
  /** The time of the intact model, divided by this model's speedup, so that the times of all models can be compared. */
  prefillSeconds: number;
  passSeconds: number;
  prefillSpeedUp: SpeedUp;
  decodeSpeedUp: SpeedUp;
  /** The budgets, in words, within which it is the largest model. */
  budgets?: readonly string[];
}

export function nameOf({ mark }: Pick<Candidate, 'mark'>): string {
  if (mark === null) return 'intact';
  return mark === 'last' ? mark : `#${mark}`;
}

/** Returns the smallest pruned model whose perplexity is at most this; of equally small ones the best. */
export function smallestWithin(all: readonly Candidate[], perplexity: number): Candidate | undefined {
  return all
    .filter((one) => one.mark !== null && one.perplexity <= perplexity)
    .sort((a, b) => a.parameters - b.parameters || a.perplexity - b.perplexity)[0];
}

// The models that no other model beats in both size and perplexity.
import type { SpeedUp } from '#comparison';

export interface Candidate {
  /** 'last': the run's last state, where it is no teacher; null: the model before pruning. */
  mark: number | 'last' | null;
  sparsity: number;
  perplexity: number;
  /** That its export holds. */
  parameters: number;
  bytes: number;
  /** The time of the intact model, divided by the ratio of speed to this model, so that all times can be compared. */
  prefillSeconds: number;
  passSeconds: number;
  prefillSpeedUp: SpeedUp;
  decodeSpeedUp: SpeedUp;
}

export function nameOf({ mark }: Pick<Candidate, 'mark'>): string {
  if (mark === null) return 'intact';
  return mark === 'last' ? mark : `#${mark}`;
}

/** The smallest pruned model whose perplexity is at most this; of equal ones the best. */
export function smallestWithin(all: readonly Candidate[], perplexity: number): Candidate | undefined {
  return all
    .filter((one) => one.mark !== null && one.perplexity <= perplexity)
    .sort((a, b) => a.parameters - b.parameters || a.perplexity - b.perplexity)[0];
}

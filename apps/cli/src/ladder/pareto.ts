// Which of several models are worth having.
import type { SpeedUp } from '#comparison';

export interface Candidate {
  /** 'last': the run's last state, where it is no teacher; null: the model before pruning. */
  mark: number | 'last' | null;
  sparsity: number;
  perplexity: number;
  /** That its export holds. */
  parameters: number;
  bytes: number;
  /** The intact model's, divided by how many times as fast this one was beside it: so that all can be compared. */
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

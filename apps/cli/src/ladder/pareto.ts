// Which of several models are worth having.

export interface Candidate {
  /** 'last': the run's last state, where it is no teacher; null: the model before pruning. */
  mark: number | 'last' | null;
  sparsity: number;
  perplexity: number;
  parameters: number;
  prefillSeconds: number;
  passSeconds: number;
  prefillRatio: number;
  passRatio: number;
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

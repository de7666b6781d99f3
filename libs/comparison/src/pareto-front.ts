export interface SizeAndQuality {
  parameters: number;
  /** Undefined: the model was not evaluated. */
  perplexity: number | undefined;
}

/** Tells whether the model is on the Pareto front: no other model is at least as small and as good, and better in one of the two. */
export function onFront({ parameters, perplexity }: SizeAndQuality, all: readonly SizeAndQuality[]): boolean {
  if (perplexity === undefined) return false;
  return !all.some(
    (other) =>
      other.perplexity !== undefined &&
      other.parameters <= parameters &&
      other.perplexity <= perplexity &&
      (other.parameters < parameters || other.perplexity < perplexity),
  );
}

export interface SizeAndQuality {
  parameters: number;
  /** Undefined: not evaluated. */
  perplexity: number | undefined;
}

/** Whether no other model is as small and as good, and better in one of the two. */
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

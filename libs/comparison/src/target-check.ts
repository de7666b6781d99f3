// Tells whether a run met its target. The sparsity of the hard masks counts, since these are exported.

/** A run is on target if its sparsity differs by at most one percentage point. */
export const TARGET_TOLERANCE = 0.01;
const ROUNDING = 1e-9;

export function isOffTarget(sparsity: number, targetSparsity: number): boolean {
  return Math.abs(sparsity - targetSparsity) > TARGET_TOLERANCE + ROUNDING;
}

/**
 * Tells whether a run ended above or below its target.
 * @param run.completed whether its masks are as they will be exported; a run that still prunes has not missed its target yet
 */
export function hasMissedTarget(run: { completed: boolean; hardSparsity: number; targetSparsity: number }): boolean {
  return run.completed && isOffTarget(run.hardSparsity, run.targetSparsity);
}

/** How a client names the settings that help. */
interface SettingWords {
  steps: string;
  maskRate: string;
  freeShapes: string;
}

/** Says which settings bring a run that missed its target closer. @param run.isFree whether its layers may have any shape */
export function missAdvice(
  { expectedSparsity, targetSparsity, isFree }: { expectedSparsity: number; targetSparsity: number; isFree: boolean },
  { steps, maskRate, freeShapes }: SettingWords,
): string {
  if (isOffTarget(expectedSparsity, targetSparsity)) return `more ${steps} or a higher ${maskRate} come closer`;
  // The masks learned what was asked. Only whole heads and units can be removed, and shapes make these steps larger.
  const finer = isFree ? 'another target fits them better' : `with ${freeShapes} there are finer sizes`;
  const learned = `the masks learned ${(100 * expectedSparsity).toFixed(1)}%`;
  return `${learned}, and the rest is rounding to ${isFree ? 'whole parts' : 'shapes'}: ${finer}`;
}

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

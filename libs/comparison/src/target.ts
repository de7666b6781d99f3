// Whether a run met its target. The sparsity of the hard masks counts, since these are exported.

/** A run is on target within this difference: one point. */
export const TARGET_TOLERANCE = 0.01;
const ROUNDING = 1e-9;

export function isOffTarget(sparsity: number, targetSparsity: number): boolean {
  return Math.abs(sparsity - targetSparsity) > TARGET_TOLERANCE + ROUNDING;
}

/** A run that completed above or below its target. One that has not completed has missed nothing yet. */
export function hasMissedTarget(run: { completed: boolean; hardSparsity: number; targetSparsity: number }): boolean {
  return run.completed && isOffTarget(run.hardSparsity, run.targetSparsity);
}

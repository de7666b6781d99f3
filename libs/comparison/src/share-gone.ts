// How much of a model is gone: in one measure for all runs, and in the measure of a run's own target.
import { BUDGETS } from './target-settings.js';

interface Sizes {
  parameterCount: bigint;
  result?: { parameterCount: bigint } | undefined;
}

/** The share of all parameters that is gone as the model is exported. Runs with different targets can be compared by it. NaN: not known. */
export const shareGone = ({ parameterCount, result }: Sizes): number =>
  result === undefined || parameterCount === 0n ? Number.NaN : 1 - Number(result.parameterCount) / Number(parameterCount);

/** Names the unit that a target counts. A target without a budget is a sparsity. */
function counted(budget: { setting: string } | undefined): string {
  if (budget === undefined) return 'prunable';
  const unit: string = Object.values(BUDGETS).find(({ field }) => field === budget.setting)?.unit ?? budget.setting;
  return unit === 'seconds' ? 'time' : unit;
}

/** The share that a run has taken away of what its target counts, by name: "50.1% of prunable", "46.2% of bytes". */
export const reachedWords = (hardSparsity: number, budget: { setting: string } | undefined, digits = 1): string =>
  `${(hardSparsity * 100).toFixed(digits)}% of ${counted(budget)}`;

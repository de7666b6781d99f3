// How much of a model is gone: in one measure for all runs, and in the measure of a run's own target.

interface Sizes {
  parameterCount: bigint;
  result?: { parameterCount: bigint } | undefined;
}

/** The share of all parameters that is gone as the model is exported. Runs with different targets can be compared by it. NaN: not known. */
export const shareGone = ({ parameterCount, result }: Sizes): number =>
  result === undefined || parameterCount === 0n ? Number.NaN : 1 - Number(result.parameterCount) / Number(parameterCount);

/** By the setting of the budget; '': the target is a sparsity. */
const COUNTED: Record<string, string> = {
  '': 'prunable',
  target_params: 'parameters',
  target_bytes: 'bytes',
  target_macs: 'multiply-adds',
  target_speedup: 'time',
};

/** The share that a run has taken away of what its target counts, by name: "50.1% of prunable", "46.2% of bytes". */
export const reachedWords = (hardSparsity: number, budget: { setting: string } | undefined, digits = 1): string =>
  `${(hardSparsity * 100).toFixed(digits)}% of ${COUNTED[budget?.setting ?? ''] ?? budget!.setting}`;

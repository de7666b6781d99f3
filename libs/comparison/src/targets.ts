// The settings of which a run has one: the sparsity that it is to reach, or a budget in its place.

/** Each budget by its name in the protocol. */
export const BUDGETS = {
  targetParams: 'target_params',
  targetBytes: 'target_bytes',
  targetMacs: 'target_macs',
  targetSpeedup: 'target_speedup',
} as const;
export type BudgetName = keyof typeof BUDGETS;
export const BUDGET_NAMES = Object.keys(BUDGETS) as BudgetName[];
export const TARGET_NAMES = ['targetSparsity', ...BUDGET_NAMES] as const;

export interface Targets extends Partial<Record<BudgetName, number | undefined>> {
  targetSparsity?: number | undefined;
}

/**
 * The settings, by the names of the protocol, that a repeated run leaves out: it has one target, and a budget says its sparsity. A table
 * goes with a target in seconds.
 */
export function otherTargets(targets: Targets): string[] {
  const isAsked = (name: BudgetName): boolean => (targets[name] ?? 0) > 0;
  const unasked = BUDGET_NAMES.filter((name) => !isAsked(name)).map((name) => BUDGETS[name]);
  return [
    ...(unasked.length < BUDGET_NAMES.length ? ['target_sparsity'] : []),
    ...unasked,
    ...(isAsked('targetSpeedup') ? [] : ['speed_table']),
  ];
}

// The settings that can be a run's target: the sparsity to reach, or one of the budgets. A run has exactly one target.

/** The name of each budget in the protocol. */
export const BUDGETS = {
  targetParams: 'target_params',
  targetBytes: 'target_bytes',
  targetMacs: 'target_macs',
  targetSpeedup: 'target_speedup',
} as const;
export type BudgetName = keyof typeof BUDGETS;
export const BUDGET_NAMES = Object.keys(BUDGETS) as BudgetName[];
const BUDGET_FIELDS: readonly string[] = Object.values(BUDGETS);
export const TARGET_NAMES = ['targetSparsity', ...BUDGET_NAMES] as const;

export interface Targets extends Partial<Record<BudgetName, number | undefined>> {
  targetSparsity?: number | undefined;
  recoverSteps?: number | undefined;
}

/**
 * Returns the settings, by their names in the protocol, that a repetition of the run leaves out: a run has one target, and a budget
 * determines the sparsity. The speed table is left out too, unless the target is a speedup, which needs it. So is the time, once it has
 * chosen the steps; before, a repetition names the time alone.
 */
export function otherTargets(targets: Targets): string[] {
  const isAsked = (name: BudgetName): boolean => (targets[name] ?? 0) > 0;
  const unasked = BUDGET_NAMES.filter((name) => !isAsked(name)).map((name) => BUDGETS[name]);
  return [
    ...(unasked.length < BUDGET_NAMES.length ? ['target_sparsity'] : []),
    ...unasked,
    ...(isAsked('targetSpeedup') ? [] : ['speed_table']),
    targets.recoverSteps === undefined ? 'total_steps' : 'time',
  ];
}

/** The bounds of a setting in the protocol's table. */
interface Bounds {
  min?: number | undefined;
  askedMin?: number | undefined;
  above?: number | undefined;
}

/**
 * The least value of a setting that a request may ask for; excluded: values above it are allowed. A request with a budget of 0 is refused:
 * inside the server it stands for none.
 */
export function leastAsked(field: string, { min = 0, askedMin, above }: Bounds): { least: number; isExcluded: boolean } {
  const excluded = above ?? (BUDGET_FIELDS.includes(field) && askedMin === undefined ? 0 : undefined);
  return excluded === undefined ? { least: askedMin ?? min, isExcluded: false } : { least: excluded, isExcluded: true };
}

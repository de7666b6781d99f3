// The settings that can be a run's target: the sparsity to reach, or one of the budgets. A run has exactly one target.

interface BudgetKind {
  /** The setting's name in the protocol. */
  field: string;
  /** The unit that the budget counts. */
  unit: string;
  /** The setting gives an amount in this unit, a share of what the intact model has, or how many times as fast the result is. */
  given: 'amount' | 'share' | 'factor';
}

/** The one table of budgets. How a budget counts the parts of a model says `costOf` of the orchestrator (pruning-run/method/budget.ts). */
export const BUDGETS = {
  targetParams: { field: 'target_params', unit: 'parameters', given: 'amount' },
  targetBytes: { field: 'target_bytes', unit: 'bytes', given: 'amount' },
  targetMacs: { field: 'target_macs', unit: 'multiply-adds', given: 'share' },
  targetSpeedup: { field: 'target_speedup', unit: 'seconds', given: 'factor' },
} as const satisfies Record<string, BudgetKind>;
export type BudgetName = keyof typeof BUDGETS;
export const BUDGET_NAMES = Object.keys(BUDGETS) as [BudgetName, ...BudgetName[]];
export const BUDGET_FIELDS: readonly string[] = Object.values(BUDGETS).map(({ field }) => field);

/** The amount that a setting asks for, in the budget's unit. */
export function amountOfBudget(name: BudgetName, given: number, intact: number): number {
  const kind = BUDGETS[name].given;
  return kind === 'factor' ? intact / given : kind === 'share' ? given * intact : given;
}

/** The value of the setting that asks for an amount. */
export function givenForBudget(name: BudgetName, amount: number, intact: number): number {
  const kind = BUDGETS[name].given;
  return kind === 'factor' ? intact / amount : kind === 'share' ? amount / intact : amount;
}
export const TARGET_NAMES = ['targetSparsity', ...BUDGET_NAMES] as const;

export interface Targets extends Partial<Record<BudgetName, number | undefined>> {
  targetSparsity?: number | undefined;
  recoverSteps?: number | undefined;
  time?: number | undefined;
}

/**
 * Returns the settings, by their names in the protocol, that a repetition of the run leaves out: a run has one target, and a budget
 * determines the sparsity. The speed table is left out too, unless the target is a speedup, which needs it. So is the time, once it has
 * chosen the steps; before, a repetition names the time alone.
 */
export function otherTargets(targets: Targets): string[] {
  const isAsked = (name: BudgetName): boolean => (targets[name] ?? 0) > 0;
  const unasked = BUDGET_NAMES.filter((name) => !isAsked(name)).map((name): string => BUDGETS[name].field);
  return [
    ...(unasked.length < BUDGET_NAMES.length ? ['target_sparsity'] : []),
    ...unasked,
    ...(isAsked('targetSpeedup') ? [] : ['speed_table']),
    (targets.time ?? 0) > 0 && targets.recoverSteps === undefined ? 'total_steps' : 'time',
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

// A budget of a run in words: asked, predicted, measured.

export interface BudgetFigures {
  unit: string;
  asked: number;
  intact: number;
  least: number;
  predicted?: number | undefined;
  measured?: number | undefined;
  prunableSparsity?: number | undefined;
}

const amount = (value: number): string =>
  Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+(?!\d))/g, ',');
const share = (value: number): string => `${(value * 100).toFixed(1)}%`;

/** "asked 2,100,000 of 2,985,000 parameters (70.4%); predicted 2,099,990; measured 2,099,990" */
export function budgetWords({ unit, asked, intact, predicted, measured }: BudgetFigures): string {
  const parts = [`asked ${amount(asked)} of ${amount(intact)} ${unit} (${share(asked / intact)})`];
  if (predicted !== undefined) parts.push(`predicted ${amount(predicted)}`);
  if (measured !== undefined) parts.push(`measured ${amount(measured)}`);
  return parts.join('; ');
}

/** Of a plan: the sparsity that the budget means. */
export function budgetPlanWords(budget: BudgetFigures): string {
  const { unit, asked, intact, least, prunableSparsity } = budget;
  const means = prunableSparsity === undefined ? '' : `, by about ${share(prunableSparsity)} of the prunable parameters`;
  return `${amount(asked)} of ${amount(intact)} ${unit}: ${share(1 - asked / intact)} of them go${means}; at least ${amount(least)} stay`;
}

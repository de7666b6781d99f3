// A budget of a run in words: asked, predicted, measured.
import type { Targets } from './targets.js';

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
const share = (value: number, digits = 1): string => `${(value * 100).toFixed(digits)}%`;

/** "asked 2,100,000 of 2,985,000 parameters (70.4%); predicted 2,099,990; measured 2,099,990" */
export function budgetWords({ unit, asked, intact, predicted, measured }: BudgetFigures): string {
  const parts = [`asked ${amount(asked)} of ${amount(intact)} ${unit} (${share(asked / intact)})`];
  if (predicted !== undefined) parts.push(`predicted ${amount(predicted)}`);
  if (measured !== undefined) parts.push(`measured ${amount(measured)}`);
  return parts.join('; ');
}

/** The sparsity that a budget means, for a plan. */
export function budgetPlanWords(budget: BudgetFigures): string {
  const { unit, asked, intact, least, prunableSparsity } = budget;
  const means = prunableSparsity === undefined ? '' : `, by about ${share(prunableSparsity)} of the prunable parameters`;
  return `${amount(asked)} of ${amount(intact)} ${unit}: ${share(1 - asked / intact)} of them go${means}; at least ${amount(least)} stay`;
}

/** "50%", or the budget that stands in its place: "1.5M parameters". */
export function targetWords({ targetSparsity, targetParams = 0, targetBytes = 0, targetMacs = 0 }: Targets, digits = 0): string {
  if (targetParams > 0) return `${scaled(targetParams)} parameters`;
  if (targetBytes > 0) return `${scaled(targetBytes)}B`;
  if (targetMacs > 0) return `${share(targetMacs, digits)} of the multiply-adds`;
  return targetSparsity === undefined ? '-' : share(targetSparsity, digits);
}

function scaled(value: number): string {
  const power = Math.min(Math.max(Math.floor(Math.log10(value) / 3), 0), 4);
  return `${Number((value / 1000 ** power).toPrecision(3))}${['', 'k', 'M', 'G', 'T'][power]}`;
}

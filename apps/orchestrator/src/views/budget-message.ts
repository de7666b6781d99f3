// A run's budget as clients see it: asked, predicted by its masks, measured in its export.
import type { v1 } from '#protocol';
import { amountAsked, aboutBudget } from '../pruning-run/method/budget.js';
import type { PruningRunState, RecordedExport } from '../pruning-run/aggregate/pruning-run.state.js';
import type { Budget, RunSettings, StateFact } from '../pruning-run/record/pruning-run.events.js';

export function budgetMessage(budget: Budget, settings: RunSettings): v1.Budget {
  const { field, unit } = aboutBudget(budget);
  const asked = amountAsked(budget, settings);
  const { intact, least, speed } = budget;
  return { setting: field, unit, asked, intact, least, predicted: undefined, measured: undefined, prunableSparsity: undefined, speed };
}

type Budgeted = Pick<PruningRunState, 'budget' | 'settings' | 'current' | 'exports'>;

export function budgetOfRun({ budget, settings, current, exports }: Budgeted): v1.Budget | undefined {
  if (budget === undefined) return undefined;
  const asked = budgetMessage(budget, settings);
  if (current === null) return asked;
  const predicted = budget.intact * (1 - current.hardSparsity);
  return { ...asked, predicted, measured: measuredOf(budget, current, exports) };
}

function measuredOf(budget: Budget, current: StateFact, exports: readonly RecordedExport[]): number | undefined {
  // The engine counts multiplications in the tensors of an export for every state. Attention is no tensor.
  if (budget.setting === 'targetMacs')
    return current.size && current.size.multiplications + (budget.cost[4] ?? 0) * current.headsOpen.reduce((sum, heads) => sum + heads, 0);
  if (budget.setting === 'targetSpeedup') return undefined; // `espalier bench` measures, and records nothing
  const newest = exports.findLast(({ made, stateDigest }) => made?.format === 'hf-remote' && stateDigest === current.stateDigest);
  if (newest === undefined) return undefined;
  if (budget.setting === 'targetParams') return newest.parameterCount;
  return newest.files.filter(({ name }) => name.endsWith('.safetensors')).reduce((sum, { bytes }) => sum + bytes, 0);
}

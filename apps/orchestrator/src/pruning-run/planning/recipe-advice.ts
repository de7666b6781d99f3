// Advice before a launch, from trials of recipes on the bundled model (docs/recipes.md). Another model may differ, so the advice names the
// model it comes from and refuses nothing. All functions are pure.
import { prunesAtOnce } from '../method/phases.js';
import type { RunSettings } from '../record/pruning-run.events.js';
import type { SettingsWarning } from './target-sparsity.js';

interface Measured {
  targetSparsity: number;
  /** Perplexities as means of three seeds: of two recipes that only prune, and of the preset nuteprune2. The intact model has 5.04. */
  nuteprune: number;
  distill: number;
  recovered: number;
}

const MEASURED: readonly Measured[] = [
  { targetSparsity: 0.5, nuteprune: 5.83, distill: 5.64, recovered: 5.48 },
  { targetSparsity: 0.7, nuteprune: 7.32, distill: 6.7, recovered: 6.16 },
];
/** At 20% all recipes ended within 0.05 of one another, so below this sparsity no recipe is advised. */
const NOTHING_GAINED_BELOW = 0.35;

type Advised = Pick<RunSettings, 'recipe' | 'targetSparsity' | 'recoverSteps' | 'recoverWeights'>;

export function recipeAdvice({ recipe, targetSparsity, recoverSteps, recoverWeights }: Advised): SettingsWarning[] {
  if (recoverSteps > 0 && recoverWeights === 'all') return [];
  if (prunesAtOnce(recipe) || targetSparsity < NOTHING_GAINED_BELOW) return [];
  const nearest = MEASURED.reduce((best, one) => (distance(one, targetSparsity) < distance(best, targetSparsity) ? one : best));
  const message =
    `on the bundled model at ${nearest.targetSparsity * 100}%, pruning alone ended at perplexity ${nearest.nuteprune.toFixed(2)} ` +
    `(recipe nuteprune) and ${nearest.distill.toFixed(2)} (recipe distill), and pruning with recovery of all weights at ` +
    `${nearest.recovered.toFixed(2)} in no more time (preset nuteprune2, docs/recipes.md)`;
  return [{ code: 'BETTER_MEASURED', field: 'settings.recover_weights', message }];
}

const distance = (measured: Measured, targetSparsity: number): number => Math.abs(measured.targetSparsity - targetSparsity);

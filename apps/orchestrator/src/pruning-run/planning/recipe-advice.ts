// Advice before a launch, by the trials of recipes on the bundled model (docs/recipes.md); pure. Another model may differ, so a plan names
// the model and refuses nothing.
import { prunesAtOnce } from '../method/phases.js';
import type { RunSettings } from '../record/pruning-run.events.js';
import type { SettingsWarning } from './target-sparsity.js';

interface Measured {
  targetSparsity: number;
  /** Perplexities, means of three seeds: two recipes that only prune, and the preset nuteprune2. The intact model has 5.04. */
  nuteprune: number;
  distill: number;
  recovered: number;
}

const MEASURED: readonly Measured[] = [
  { targetSparsity: 0.5, nuteprune: 5.83, distill: 5.64, recovered: 5.48 },
  { targetSparsity: 0.7, nuteprune: 7.32, distill: 6.7, recovered: 6.16 },
];
/** At 20% all recipes ended within 0.05 of one another. */
const NOTHING_GAINED_BELOW = 0.35;

/** Recovery of all weights at 20%, means of three seeds. */
const LITTLE_PRUNED = { targetSparsity: 0.2, rate: 0.00015, usualRate: 0.0007, better: 5.12, usual: 5.15 };

type Advised = Pick<RunSettings, 'recipe' | 'targetSparsity' | 'recoverSteps' | 'recoverWeights' | 'recoverLearningRate'>;

export function recipeAdvice(settings: Advised): SettingsWarning[] {
  const { recipe, targetSparsity, recoverSteps, recoverWeights } = settings;
  if (recoverSteps > 0 && recoverWeights === 'all') return rateAdvice(settings);
  if (prunesAtOnce(recipe) || targetSparsity < NOTHING_GAINED_BELOW) return [];
  const nearest = MEASURED.reduce((best, one) => (distance(one, targetSparsity) < distance(best, targetSparsity) ? one : best));
  const message =
    `on the bundled model at ${nearest.targetSparsity * 100}%, pruning alone ended at perplexity ${nearest.nuteprune.toFixed(2)} ` +
    `(recipe nuteprune) and ${nearest.distill.toFixed(2)} (recipe distill), and pruning with recovery of all weights at ` +
    `${nearest.recovered.toFixed(2)} in no more time (preset nuteprune2, docs/recipes.md)`;
  return [{ code: 'BETTER_MEASURED', field: 'settings.recover_weights', message }];
}

/** The less was pruned, the smaller the steps that recover it should be. */
function rateAdvice({ targetSparsity, recoverLearningRate }: Advised): SettingsWarning[] {
  const { rate, usualRate, better, usual } = LITTLE_PRUNED;
  if (targetSparsity >= NOTHING_GAINED_BELOW || recoverLearningRate <= 2 * rate) return [];
  const message =
    `on the bundled model at ${LITTLE_PRUNED.targetSparsity * 100}%, recovery of all weights with the rate ${rate} ended at perplexity ` +
    `${better.toFixed(2)}, and with ${usualRate} at ${usual.toFixed(2)} (--recover-lr ${rate}, docs/recipes.md)`;
  return [{ code: 'BETTER_MEASURED', field: 'settings.recover_learning_rate', message }];
}

const distance = (measured: Measured, targetSparsity: number): number => Math.abs(measured.targetSparsity - targetSparsity);

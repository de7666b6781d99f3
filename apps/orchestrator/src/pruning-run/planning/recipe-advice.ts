// Advice before a launch, from trials of recipes on the bundled model (docs/recipes.md). Another model may differ, so the advice names the
// model it comes from and refuses nothing. All functions are pure.
import { prunesAtOnce } from '../method/phases.js';
import { followsFromHiddenSize, recoverLearningRate, type RequestedSettings } from '../method/run-settings.js';
import type { Budget, ModelIdentity, RunSettings } from '../record/pruning-run.events.js';
import type { SettingsWarning } from './target-sparsity.js';

interface Measured {
  targetSparsity: number;
  /**
   * Mean perplexities of two or three seeds: of two recipes that only prune, and of the preset nuteprune2 with half of its recovery, which
   * takes about as long. The intact model has 5.04.
   */
  nuteprune: number;
  distill: number;
  recovered: number;
}

const MEASURED: readonly Measured[] = [
  { targetSparsity: 0.5, nuteprune: 5.83, distill: 5.64, recovered: 5.39 },
  { targetSparsity: 0.7, nuteprune: 7.32, distill: 6.7, recovered: 6.03 },
];
/** At 20% all recipes ended within 0.05 of one another, so below this sparsity no recipe is advised. */
const NOTHING_GAINED_BELOW = 0.35;

type Advised = Pick<RunSettings, 'recipe' | 'targetSparsity' | 'recoverSteps' | 'recoverWeights'>;

export function recipeAdvice({ recipe, targetSparsity, recoverSteps, recoverWeights }: Advised): SettingsWarning[] {
  if (recoverSteps > 0 && recoverWeights !== 'lora') return [];
  if (prunesAtOnce(recipe) || targetSparsity < NOTHING_GAINED_BELOW) return [];
  const nearest = MEASURED.reduce((best, one) => (distance(one, targetSparsity) < distance(best, targetSparsity) ? one : best));
  const message =
    `on the bundled model at ${nearest.targetSparsity * 100}%, pruning alone ended at perplexity ${nearest.nuteprune.toFixed(2)} ` +
    `(recipe nuteprune) and ${nearest.distill.toFixed(2)} (recipe distill), and pruning with recovery of all weights at ` +
    `${nearest.recovered.toFixed(2)} in no more time (preset nuteprune2 with --recover-steps 2400, docs/recipes.md)`;
  return [{ code: 'BETTER_MEASURED', field: 'settings.recover_weights', message }];
}

/**
 * From this number of parameters on, and up to this target, the preset fisher is advised beside masks that learn, where all weights recover
 * and the widths are free. It was tried on one real model of 134.5 million, and on the bundled model of 3.4 million: there it was as good
 * at 20% and 50%, and masks that learn were better at 70%.
 */
const REAL_MODEL = { parameters: 50e6, target: 0.6 };

export function realModelAdvice(settings: Advised & Pick<RunSettings, 'shapeTarget'>, parameterCount: number): SettingsWarning[] {
  const { recipe, targetSparsity, recoverSteps, recoverWeights, shapeTarget } = settings;
  const isMeasured = parameterCount >= REAL_MODEL.parameters && targetSparsity < REAL_MODEL.target && shapeTarget === 'free';
  if (!isMeasured || prunesAtOnce(recipe) || recoverSteps === 0 || recoverWeights === 'lora') return [];
  const message =
    'SmolLM2-135M-Instruct, pruned from 134.5 to 100 million parameters in 420 steps in all, ended at perplexity 23.8 with the preset ' +
    'fisher and at 38.1 with masks that learn (docs/recipes.md): compare --preset fisher';
  return [{ code: 'BETTER_MEASURED', field: 'settings.preset', message }];
}

/** At 50% a target in parameters gained nothing, and at 70% 0.16. */
const PARAMETERS_GAIN_FROM = 0.6;

/**
 * Below this number of parameters `wanda` is advised beside masks that learn, where all weights recover and the target in sparsity lies
 * between these two. It was better at 50% and no better at 30%, at this rate of recovery. At 70% masks with a target of as many parameters
 * ended lower by 0.5 (`targetAdvice`).
 */
const SMALL_MODEL = { parameters: 1e6, from: 0.4, below: PARAMETERS_GAIN_FROM, tried: 0.5, recoverLearningRate: 0.003 };

/** Advises masks by `wanda` for a model with few weights, which learn all that masks could have chosen. */
export function smallModelAdvice(
  settings: Advised & Pick<RunSettings, 'totalSteps' | 'recoverLearningRate'>,
  parameterCount: number,
): SettingsWarning[] {
  const { recipe, targetSparsity, totalSteps, recoverSteps, recoverWeights, recoverLearningRate: rate } = settings;
  const isNear = targetSparsity >= SMALL_MODEL.from && targetSparsity < SMALL_MODEL.below;
  const isMeasured = parameterCount < SMALL_MODEL.parameters && isNear;
  if (!isMeasured || prunesAtOnce(recipe) || recoverSteps === 0 || recoverWeights === 'lora') return [];
  const isOther = targetSparsity !== SMALL_MODEL.tried || rate !== SMALL_MODEL.recoverLearningRate;
  const here = isOther ? `, where this run has ${Math.round(targetSparsity * 1000) / 10}% and ${rate}` : '';
  const message =
    'on a model of 358,336 parameters recipe wanda with recovery for all steps ended at perplexity 10.79, with 2% more parameters left, ' +
    `and masks that learn at 10.95 (docs/recipes.md). Both had a target of 50% and recover_learning_rate 0.003${here}: ` +
    `compare --recipe wanda --recover-steps ${totalSteps + recoverSteps}`;
  return [{ code: 'BETTER_MEASURED', field: 'settings.recipe', message }];
}

/**
 * From this share of the parameters on, those outside the layers are worth a budget of their own. The bundled model has 23% there, and a
 * model of 7B 4%, where nothing was measured.
 */
const SHARE_OUTSIDE_LAYERS = 0.1;
type Targeted = Pick<RunSettings, 'recipe' | 'targetSparsity' | 'gates'>;
type Sizes = Pick<ModelIdentity, 'parameterCount' | 'prunableParameterCount'>;

/**
 * Advises a target in parameters in place of one in sparsity, which counts the layers' weights alone. A closed hidden unit also takes a
 * column of the embedding and of lm_head away, so masks with a target in parameters choose hidden units too.
 * @param sizes of the intact model
 * @param left the parameters that the target in sparsity leaves, if no hidden unit closes
 */
export function targetAdvice({ recipe, targetSparsity, gates }: Targeted, sizes: Sizes, left: number): SettingsWarning[] {
  const outside = 1 - sizes.prunableParameterCount / sizes.parameterCount;
  const isMeasured = outside >= SHARE_OUTSIDE_LAYERS && targetSparsity >= PARAMETERS_GAIN_FROM;
  if (!isMeasured || prunesAtOnce(recipe) || !gates.includes('hidden')) return [];
  const message =
    `target_sparsity does not count ${Math.round(outside * 100)}% of the parameters, which lie outside the layers. A launch with ` +
    `target_params of about ${left} ends at about as many parameters. On the bundled model that was better: ` +
    'perplexity 5.94 for 6.10 at 70%, and alike at 50% (docs/recipes.md)';
  return [{ code: 'BETTER_MEASURED', field: 'settings.target_params', message }];
}

/** Trials had these hidden sizes. Beyond half the least and twice the most, a rate that was chosen by them needs a trial. */
const TRIED = { least: 64, most: 576 };
/** Warns of a rate of recovery that follows from a hidden size far from those at which the rule was tried. */
export function recoveryRateAdvice(
  settings: RunSettings,
  { hiddenSize }: Pick<ModelIdentity, 'hiddenSize'>,
  asked: RequestedSettings,
  budget: Budget | null,
): SettingsWarning[] {
  const isTried = hiddenSize * 2 >= TRIED.least && hiddenSize <= 2 * TRIED.most;
  if (isTried || asked.recoverLearningRate !== undefined || settings.recoverSteps === 0 || !followsFromHiddenSize(settings)) return [];
  const message =
    `recover_learning_rate ${settings.recoverLearningRate} follows from hidden size ${hiddenSize} by a rule, ` +
    `${recoverLearningRate(settings, budget)} x 192 / ${hiddenSize}, which was tried at hidden sizes ${TRIED.least} to ${TRIED.most} ` +
    'only (docs/recipes.md): compare it with a higher and a lower one in short runs';
  return [{ code: 'NOT_MEASURED', field: 'settings.recover_learning_rate', message }];
}

const distance = (measured: Measured, targetSparsity: number): number => Math.abs(measured.targetSparsity - targetSparsity);

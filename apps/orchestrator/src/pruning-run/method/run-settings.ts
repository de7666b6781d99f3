// Makes the complete settings of a run from a request. The table of settings (libs/protocol) has defaults and ranges. This file has the
// computed defaults, and the rules for several settings together.
import {
  defaultPreset,
  presetDefaults,
  settingOfName,
  settingsTable,
  valueViolations,
  type FieldViolation,
  type ModelLimits,
  type RequestedValues,
  type SettingName,
} from '#protocol';
import { timeWords } from '#comparison';
import { budgetViolations, choosesWidths, prunableShareToGo, shareToGo, speedViolations } from './budget.js';
import { gateViolations } from './gates.js';
import { widthsViolations } from './layer-widths.js';
import { prunesAtOnce } from './phases.js';
import type { Budget, ModelIdentity, RunSettings, SparsityControl } from '../record/pruning-run.events.js';

/** The settings that a request names. A setting that is undefined takes the preset's value. */
export type RequestedSettings = RequestedValues;

/**
 * In the preset nuteprune2, the number of steps of recovery for each step of pruning, and in the preset fisher the number of steps of
 * recovery (docs/recipes.md). A baseline shows the worth of its own pruning, so it recovers only if a request asks for recovery.
 */
const RECOVERY_PER_PRUNING = 8;
const RECOVERY_AFTER_FISHER = 5400;

/** Tells whether the preset recovers all weights. */
const recoversAll = ({ preset }: RunSettings): boolean => preset === 'nuteprune2' || preset === 'fisher';

/** The steps of recovery for each step of pruning. A recipe that prunes in one step has no such ratio: a time is for recovery. */
export const recoveryPerPruning = (settings: RunSettings): number => (recoversAll(settings) ? RECOVERY_PER_PRUNING : 0);

function recoverSteps({ preset, recipe, totalSteps, time }: RunSettings): number {
  if (prunesAtOnce(recipe) && time > 0) return 1; // until the steps are chosen
  if (preset === 'fisher') return RECOVERY_AFTER_FISHER;
  return preset === 'nuteprune2' && !prunesAtOnce(recipe) ? totalSteps * RECOVERY_PER_PRUNING : 0;
}

/** A perplexity costs the time of a few steps: its text has at most this share of the tokens that a run trains on. */
const EVALUATED_SHARE = 1 / 8;
const FEWEST_TOKENS_EVALUATED = 4096;

/**
 * The default number of tokens of a run's own perplexity. It is a power of two, so that runs of about as many steps have the same measure.
 * A baseline that only prunes is there to be compared, so it measures all.
 */
function evaluationTokens({ recipe, totalSteps, recoverSteps, batchSize, sequenceLength }: RunSettings): number {
  if (prunesAtOnce(recipe) && recoverSteps === 0) return 0;
  const tokens = (totalSteps + recoverSteps) * batchSize * sequenceLength * EVALUATED_SHARE;
  return 2 ** Math.min(31, Math.floor(Math.log2(Math.max(FEWEST_TOKENS_EVALUATED, tokens))));
}

/** The sizes of a model from which defaults follow. */
type ModelSizes = Pick<ModelIdentity, 'maxPositions' | 'hiddenSize'> & KnownLayers;
type KnownLayers = Partial<Pick<ModelIdentity, 'layers'>>;

/** The defaults of a recipe that no preset has. */
function recipeDefaults(recipe: RunSettings['recipe'], model: ModelSizes | undefined): Partial<RunSettings> {
  if (prunesAtOnce(recipe)) return { totalSteps: 1 };
  if (recipe !== 'scan') return {};
  const shape = { batchSize: 4, sequenceLength: Math.min(256, model?.maxPositions ?? Infinity), calibrationSequences: 64 };
  return { ...shape, totalSteps: model?.layers?.length ?? 1, segmentSteps: 1, targetSparsity: 0, loraRank: 1, recoverSteps: 0 };
}

/** Defaults that follow from other settings, in the order in which they are computed. */
const computed: { [K in SettingName]?: (settings: RunSettings, model: ModelSizes | undefined, budget: Budget | null) => RunSettings[K] } = {
  recoverSteps,
  scanSequences: ({ recipe }) => (recipe === 'scan' ? 8 : 0),
  warmupSteps: (settings, _, budget) => warmupSteps(settings, budget),
  loraLearningRate: ({ preset }, model) => loraLearningRate(preset, model?.hiddenSize),
  maskLearningRate,
  maskNoise: (settings, _, budget) => maskNoise(settings, budget),
  lambdaLearningRate: ({ preset, sparsityControl }) => lambdaLearningRateOf(sparsityControl, preset),
  recoverLearningRate: (settings, model, budget) => recoverLearningRate(settings, budget, model?.hiddenSize),
  recoverWarmupSteps: ({ recoverSteps }) => recoverWarmupSteps(recoverSteps),
  evaluationWindow: (_, model) => Math.min(256, model?.maxPositions ?? Infinity),
  evaluationTokens,
};

export const isComputed = (name: SettingName): boolean => Object.hasOwn(computed, name);

/**
 * Fills in defaults and checks nothing. An unknown preset takes the defaults of settings without values by preset.
 * @param model left out while the model is not known
 * @param budget the budget that the request asks for; null where it asks for none, or while the model is not known
 */
export function resolveSettings(requested: RequestedSettings, model?: ModelSizes, budget: Budget | null = null): RunSettings {
  const table = settingsTable();
  const preset = requested.preset ?? defaultPreset();
  const defaults = presetDefaults(preset);
  const settings: Record<string, unknown> = {};
  const ofRecipe = recipeDefaults(requested.recipe ?? (defaults.recipe as RunSettings['recipe']), model);
  for (const { name } of table) settings[name] = requested[name] ?? ofRecipe[name] ?? defaults[name];
  if (budget !== null) settings['targetSparsity'] = shareToGo(budget, settings);
  for (const [name, find] of Object.entries(computed)) settings[name] ??= find(settings as RunSettings, model, budget);
  settings['recoverWeights'] = requested.recoverWeights ?? recoverWeights(settings as RunSettings);
  for (const { name, kind, allowed } of table) if (kind === 'words') settings[name] = inOrder(settings[name] as string[], allowed);
  return { ...(settings as RunSettings), preset };
}

/**
 * Returns the request with gates of key/value heads where it names no gates, its recipe closes whole groups of heads, and the model has
 * such groups. So a group's key and value head counts as removed with its heads.
 */
export function withGroupGates(requested: RequestedSettings, { heads, kvHeads }: { heads: number; kvHeads: number }): RequestedSettings {
  const settings = resolveSettings(requested);
  const { recipe, gates, shapeTarget } = settings;
  const isHeld = shapeTarget !== 'free' && !choosesWidths(settings);
  if (recipe !== 'fisher' || isHeld || requested.gates !== undefined || heads === kvHeads) return requested;
  return { ...requested, gates: [...gates, 'kv-group'] };
}

/** The settings whose defaults follow from the number of steps. */
const FOLLOWING_STEPS: readonly SettingName[] = ['warmupSteps', 'maskLearningRate', 'recoverWarmupSteps', 'evaluationTokens'];

/** Returns those of these settings that a request leaves open. */
export const followingSteps = (requested: RequestedSettings): SettingName[] =>
  FOLLOWING_STEPS.filter((name) => requested[name] === undefined);

/**
 * The settings of a run that its engine still has to choose by its time. A recipe that prunes in one step has only its recovery to choose.
 * @param following the settings that follow from the steps; undefined where the steps are known
 */
export function settingsToChoose({ recipe }: Pick<RunSettings, 'recipe'>, following: readonly SettingName[] | undefined): SettingName[] {
  if (following === undefined) return [];
  const steps: SettingName[] = prunesAtOnce(recipe) ? ['recoverSteps'] : ['totalSteps', 'recoverSteps'];
  return [...steps, ...following];
}

/** Gives settings other numbers of steps, and the settings in `following` their defaults by them. */
export function withSteps(
  settings: RunSettings,
  steps: Pick<RunSettings, 'totalSteps' | 'recoverSteps'>,
  following: readonly SettingName[],
  model: ModelSizes,
  budget: Budget | null,
): RunSettings {
  const changed: RunSettings = { ...settings, ...steps };
  for (const [name, find] of Object.entries(computed))
    if (following.includes(name as SettingName)) Object.assign(changed, { [name]: find(changed, model, budget) });
  return changed;
}

/** A time chooses the steps, so a request names one of the two. A time below 0 is refused by the setting's range. */
export function timeViolations({ time, totalSteps, recoverSteps }: RequestedSettings): FieldViolation[] {
  if (time === undefined || time < 0) return [];
  const { askedMin: least = 0, max = Infinity } = settingOfName('time');
  const refused = (description: string, code: FieldViolation['code']): FieldViolation[] => [{ field: 'settings.time', description, code }];
  if (time < least) return refused(`must be from ${timeWords(least)} to ${timeWords(max)}, is ${timeWords(time)}`, 'FIELD_OUT_OF_RANGE');
  const named = Object.entries({ total_steps: totalSteps, recover_steps: recoverSteps }).filter(([, value]) => value !== undefined);
  if (named.length === 0) return [];
  const words = named.map(([field, value]) => `${field} is ${value}`).join(' and ');
  return refused(`is ${timeWords(time)}, but ${words}: a time chooses the steps, so name the time or the steps`, 'REQUEST_INVALID');
}

/**
 * The default of recover_weights, which says what recovery trains. A run without recovery has no use for the preset's value, and a setting
 * that only LoRA has asks for LoRA.
 */
function recoverWeights(preset: RunSettings): RunSettings['recoverWeights'] {
  const { recoverSteps, recoverLoraRank, recoverLoraDropout, recoverRefitBatches } = preset;
  const asksForLora = recoverLoraRank > 0 || recoverLoraDropout > 0 || recoverRefitBatches > 0;
  return recoverSteps === 0 || asksForLora ? 'lora' : preset.recoverWeights;
}

/**
 * The default for the steps over which the scheduled sparsity rises. The preset `paper` has the published epochs, 1 or 4 of 7, which follow
 * from a sparsity.
 */
function warmupSteps(settings: RunSettings, budget: Budget | null = null): number {
  const { preset, totalSteps } = settings;
  if (preset !== 'paper') return Math.floor(totalSteps * 0.3);
  return Math.floor(totalSteps * (shareToPrune(settings, budget) < 0.35 ? 4 / 7 : 1 / 7));
}

/**
 * The defaults for two shares of pruned parameters (docs/recipes.md has the trials). If less is pruned, recovery does best with a smaller
 * learning rate, and the masks need more noise. The rates are those that fall by a cosine.
 */
const LITTLE_PRUNED = { share: 0.2, rate: 0.0003, noise: 0.5 };
const HALF_PRUNED = { share: 0.5, rate: 0.0007, noise: 0.3 };

/** Interpolates between these two defaults: equal steps of the share change the default by equal factors. */
function defaultAt(share: number, little: number, half: number): number {
  const [from, to] = [LITTLE_PRUNED.share, HALF_PRUNED.share];
  const pruned = share < to ? Math.max(0, (share - from) / (to - from)) : 1;
  return little * (half / little) ** pruned;
}

const toTwoDigits = (value: number): number => Number(value.toPrecision(2));

/** The default share of the published noise that masks have while they learn. */
export function maskNoise(settings: RunSettings, budget: Budget | null = null): number {
  if (settings.preset !== 'nuteprune2') return 1;
  return toTwoDigits(defaultAt(shareToPrune(settings, budget), LITTLE_PRUNED.noise, HALF_PRUNED.noise));
}

/** A rate that falls linearly begins this many times as high. */
const LINEAR_RATE = 10 / 7;

/**
 * The share by which defaults follow from a target. With a budget it is the share of the prunable cost that has to go, since a share of the
 * whole cost is smaller for a model that is pruned as much. Seconds do not tell how many parameters go: on a device where a narrower model
 * gains little, three quarters of them went for two fifths of the seconds. So a target in seconds counts as half of the parameters.
 */
export function shareToPrune(settings: RunSettings, budget: Budget | null): number {
  if (budget === null) return settings.targetSparsity;
  return budget.setting === 'targetSpeedup' ? HALF_PRUNED.share : prunableShareToGo(budget, settings);
}

/**
 * Tells whether the default rate of recovery follows from the target. Smaller rates were tried only for recovery of all weights after masks
 * had learned: a baseline damages the model more, and LoRA needs larger steps.
 */
const hasRateOfTarget = (settings: RunSettings): boolean =>
  recoversAll(settings) && !prunesAtOnce(settings.recipe) && recoverWeights(settings) !== 'lora';

/**
 * The share of the prunable cost that a plan shows, and the settings that have their default by it. @returns null where no default follows
 * from it
 * @param asked the settings that have no default, since the request names them
 */
export function shareOfDefaults(
  settings: RunSettings,
  budget: Budget,
  asked: RequestedSettings,
): { share: number; settings: SettingName[] } | null {
  if (budget.setting === 'targetSpeedup') return null;
  const { preset } = settings;
  const candidates: [name: SettingName, follows: boolean][] = [
    ['warmupSteps', preset === 'paper'],
    ['maskNoise', preset === 'nuteprune2'],
    ['recoverLearningRate', hasRateOfTarget(settings)],
  ];
  const following = candidates.flatMap(([name, follows]) => (follows && asked[name] === undefined ? [name] : []));
  return following.length === 0 ? null : { share: shareToPrune(settings, budget), settings: following };
}

/** Returns the rate of recovery of a model of the hidden size at which rates were tried. */
function rateOfRecovery(settings: RunSettings, budget: Budget | null): number {
  const { preset, recoverSchedule } = settings;
  if (preset === 'paper') return 0.0001;
  if (!recoversAll(settings)) return 0.001;
  const share = hasRateOfTarget(settings) ? shareToPrune(settings, budget) : HALF_PRUNED.share;
  return defaultAt(share, LITTLE_PRUNED.rate, HALF_PRUNED.rate) * (recoverSchedule === 'linear' ? LINEAR_RATE : 1);
}

const HIDDEN_SIZE_OF_RATES = 192;

/** Tells whether the default rate of recovery follows from the hidden size. */
export const followsFromHiddenSize = (settings: RunSettings): boolean => recoversAll(settings) && recoverWeights(settings) !== 'lora';

/**
 * The default rate of recovery. In the preset nuteprune2 all weights learn at rates that are inverse to the hidden size: where each weight
 * changes by as much, a sum over more of them changes by more (docs/recipes.md).
 * @param hiddenSize of the model; left out, that of the bundled model
 */
export function recoverLearningRate(settings: RunSettings, budget: Budget | null = null, hiddenSize = HIDDEN_SIZE_OF_RATES): number {
  const rate = rateOfRecovery(settings, budget);
  return toTwoDigits(followsFromHiddenSize(settings) ? (rate * HIDDEN_SIZE_OF_RATES) / hiddenSize : rate);
}

const PUBLISHED_LORA_RATE = 0.001;

/**
 * The default rate of LoRA while pruning. It falls with the square of the hidden size, down to the published rate: 0.01 was best at 192 and
 * 0.001 at 576 (docs/recipes.md).
 */
function loraLearningRate(preset: string, hiddenSize = HIDDEN_SIZE_OF_RATES): number {
  if (preset === 'paper') return PUBLISHED_LORA_RATE;
  return toTwoDigits(Math.min(0.01, Math.max(PUBLISHED_LORA_RATE, 0.01 * (HIDDEN_SIZE_OF_RATES / hiddenSize) ** 2)));
}

export const recoverWarmupSteps = (recoverSteps: number): number => Math.floor(recoverSteps / 20);

const MASK_LEARNING_RATE = 0.1; // as published
/**
 * The number of steps from which on masks learn at the published rate. With fewer steps masks have to move faster to be told apart: at 150
 * steps 0.4 did better than 0.2 and 0.8 (docs/design/sparsity.md).
 */
const STEPS_AT_PUBLISHED_MASK_RATE = 1400;

function maskLearningRate({ sparsityControl, totalSteps }: RunSettings): number {
  if (sparsityControl === 'multipliers') return MASK_LEARNING_RATE;
  const faster = Math.sqrt(Math.max(1, STEPS_AT_PUBLISHED_MASK_RATE / Math.max(1, totalSteps)));
  return Math.round(MASK_LEARNING_RATE * faster * 1e4) / 1e4;
}

/**
 * The rate of the multipliers or of tracking. A fork that changes the rule which holds the sparsity does not keep the other rule's rate.
 */
export function lambdaLearningRateOf(control: SparsityControl, preset: string): number {
  if (control === 'tracking') return 0.02;
  return preset === 'paper' ? 0.1 : 1; // there are few steps, so ten times the published rate
}

/** Sorts the items, so that equal sets are equal settings. Unknown names stay and are refused later. */
function inOrder(items: readonly string[], order: readonly string[]): string[] {
  const rank = (name: string): number => (order.indexOf(name) + order.length + 1) % (order.length + 1);
  return [...items].sort((left, right) => rank(left) - rank(right));
}

function oneShotViolations(settings: RunSettings): FieldViolation[] {
  const { recipe, totalSteps, shapeTarget } = settings;
  const violations: FieldViolation[] = [];
  if (totalSteps !== 1) {
    const description = `must be 1 with recipe ${recipe}, which prunes at once, is ${totalSteps}; recover_steps may follow`;
    violations.push({ field: 'settings.total_steps', description, code: 'FIELD_OUT_OF_RANGE' });
  }
  if (shapeTarget !== 'free' && !choosesWidths(settings)) {
    const description = `must be free with recipe ${recipe} without a library, is ${shapeTarget}: masks that do not learn are held to none`;
    violations.push({ field: 'settings.shape_target', description, code: 'FIELD_OUT_OF_RANGE' });
  }
  return violations;
}

/** A scan scores each layer of the intact model once. @param layers of the model; undefined while it is not known */
function scanViolations(settings: RunSettings, layers: number | undefined): FieldViolation[] {
  const { recipe, totalSteps, recoverSteps, targetSparsity, scanSequences, time } = settings;
  const refused = (field: string, description: string): FieldViolation => ({
    field: `settings.${field}`,
    description,
    code: 'FIELD_OUT_OF_RANGE',
  });
  if (recipe !== 'scan')
    return scanSequences === 0 ? [] : [refused('scan_sequences', `must be 0 with recipe ${recipe}, is ${scanSequences}`)];
  const must: [field: string, value: number, allowed: number, why: string][] = [
    ['total_steps', totalSteps, layers ?? totalSteps, 'it has a step for each layer'],
    ['recover_steps', recoverSteps, 0, 'it prunes nothing'],
    ['target_sparsity', targetSparsity, 0, 'it prunes nothing'],
    ['time', time, 0, 'its steps follow from the model'],
  ];
  const wrong = must.filter(([, value, allowed]) => value !== allowed);
  const violations = wrong.map(([field, value, allowed, why]) =>
    refused(field, `must be ${allowed} with recipe scan, is ${value}: ${why}`),
  );
  if (scanSequences === 0) violations.push(refused('scan_sequences', 'must be at least 1 with recipe scan'));
  return violations;
}

/** The highest rank that a state's file holds. */
const LORA_RANK_MAX = 1024;

/** Refuses a refit without recovery, or without LoRA or own weights to hold its result. */
function refitViolations({ recoverRefitBatches, recoverSteps, recoverWeights, loraTargets }: RunSettings): FieldViolation[] {
  const refused = (why: string): FieldViolation[] => [
    { field: 'settings.recover_refit_batches', description: `is ${recoverRefitBatches}, but ${why}`, code: 'FIELD_OUT_OF_RANGE' },
  ];
  if (recoverRefitBatches === 0) return [];
  if (recoverSteps === 0) return refused('recover_steps is 0: no recovery begins');
  if (recoverWeights !== 'lora') return [];
  const lacking = ['o_proj', 'down_proj'].filter((target) => !loraTargets.includes(target));
  return lacking.length > 0 ? refused(`lora_targets lacks ${lacking.join(' and ')}: both must have LoRA`) : [];
}

/** Own weights learn in place of LoRA, so settings that change LoRA are refused there. */
function ownWeightsViolations(settings: RunSettings): FieldViolation[] {
  if (settings.recoverWeights === 'lora') return [];
  const refused = (field: string, description: string): FieldViolation => ({
    field: `settings.${field}`,
    description,
    code: 'FIELD_OUT_OF_RANGE',
  });
  const { recoverSteps, recoverLoraRank, recoverLoraDropout } = settings;
  if (recoverSteps === 0) return [refused('recover_weights', `is ${settings.recoverWeights}, but recover_steps is 0: no recovery begins`)];
  const mustBeZero = (field: string, value: number): FieldViolation[] =>
    value === 0 ? [] : [refused(field, `must be 0 with recover_weights ${settings.recoverWeights}, which trains no LoRA, is ${value}`)];
  return [...mustBeZero('recover_lora_rank', recoverLoraRank), ...mustBeZero('recover_lora_dropout', recoverLoraDropout)];
}

/** Reports every bad field with what is allowed. `limits` is left out while the model is not known. */
export function settingsViolations(s: RunSettings, limits?: ModelLimits & KnownLayers): FieldViolation[] {
  const violations = valueViolations(s, limits);
  violations.push(...scanViolations(s, limits?.layers?.length));
  if (prunesAtOnce(s.recipe)) violations.push(...oneShotViolations(s));
  else if (s.recipe !== 'lm' && s.layerLossWeight === 0 && s.klLossWeight === 0) {
    const description = 'must be above 0 where kl_loss_weight is 0: nothing would be learnt';
    violations.push({ field: 'settings.layer_loss_weight', description, code: 'FIELD_OUT_OF_RANGE' });
  }
  if (s.loraRank <= LORA_RANK_MAX && s.loraRank + s.recoverLoraRank > LORA_RANK_MAX) {
    const description = `is ${s.recoverLoraRank}: with lora_rank, ${s.loraRank}, it may make ${LORA_RANK_MAX} at most`;
    violations.push({ field: 'settings.recover_lora_rank', description, code: 'FIELD_OUT_OF_RANGE' });
  }
  const gates = gateViolations(choosesWidths(s) ? { ...s, shapeTarget: 'free' } : s); // a library's choice has no learned masks
  violations.push(...budgetViolations(s), ...speedViolations(s), ...gates, ...refitViolations(s), ...ownWeightsViolations(s));
  violations.push(...widthsViolations(s));
  if (s.recoverSteps > 0 && s.recoverLmLossWeight + s.recoverLayerLossWeight + s.recoverKlLossWeight === 0) {
    const description = 'must be above 0 where the other weights of recovery are 0: nothing would be learnt';
    violations.push({ field: 'settings.recover_lm_loss_weight', description, code: 'FIELD_OUT_OF_RANGE' });
  }
  return violations;
}

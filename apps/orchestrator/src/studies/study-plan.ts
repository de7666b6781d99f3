// A requested run of a study with its key. All functions are pure.
import { defaultPreset, settingsTable, valueOfText, type Setting } from '#protocol';
import { budgetSettingOf, prunableShareToGo } from '../pruning-run/method/budget.js';
import { prunesAtOnce } from '../pruning-run/method/phases.js';
import { earlierRecoverLearningRate, resolveSettings, warmupSteps, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import { canonicalJson, sha256Hex } from '../event-sourcing/canonical-json.js';
import { idOfRequest } from '../event-sourcing/event-ids.js';
import type { Budget, RunSettings } from '../pruning-run/record/pruning-run.events.js';
import type { PlannedRun } from './study.events.js';

/** The number of characters of a key, enough to tell many runs of one study apart. */
const KEY_LENGTH = 16;

export type RunOfStudy = Omit<PlannedRun, 'key' | 'settings'> & { settings: RequestedSettings };

/** For each preset, the setting whose default follows from a budget. */
const FOLLOWS_FROM_BUDGET = { nuteprune2: 'recoverLearningRate', paper: 'warmupSteps' } as const;

/** Returns the setting of a run that follows from its budget, or null where no setting does. */
function followingSetting(settings: RequestedSettings): 'recoverLearningRate' | 'warmupSteps' | null {
  const { preset = defaultPreset() } = settings;
  const setting = Object.hasOwn(FOLLOWS_FROM_BUDGET, preset) ? FOLLOWS_FROM_BUDGET[preset as keyof typeof FOLLOWS_FROM_BUDGET] : null;
  return setting === null || settings[setting] !== undefined || budgetSettingOf(settings) === null ? null : setting;
}

/** Tells whether a run takes the default rate of recovery for all weights, which follows from the model's hidden size. */
function hasRateOfWidth({ preset = defaultPreset(), recoverLearningRate: asked, ...settings }: RequestedSettings): boolean {
  return preset === 'nuteprune2' && asked === undefined && resolveSettings({ preset, ...settings }).recoverWeights === 'all';
}

/** Plans a run by the rules of this release. */
export function planRun(run: RunOfStudy): PlannedRun {
  const budgetRate = followingSetting(run.settings) === null ? {} : { budgetRate: 'prunable share' as const };
  const rateByWidth = hasRateOfWidth(run.settings) ? { rateByWidth: true as const } : {};
  return withKey({ ...run, ...budgetRate, ...rateByWidth });
}

/**
 * Adds the key and the preset to a run. Settings that are left out and those that give the default have the same key. The preset is
 * recorded, since another release may have another default.
 */
export function withKey(run: RunOfStudy): PlannedRun {
  const planned = { ...run, settings: { preset: defaultPreset(), ...run.settings } };
  return { ...planned, key: keyOf(planned) };
}

function keyOf({ modelPath, data, settings: asked, budgetRate }: RunOfStudy): string {
  const settings = settingsInKey(resolveSettings({ segmentSteps: segmentStepsInKeys(asked), ...asked }));
  return sha256Hex(canonicalJson({ modelPath, data, settings, budgetRate })).slice(0, KEY_LENGTH);
}

/** The default of segment_steps when keys were first made. It changes no bit of a run, so keys keep it whatever today's default is. */
const segmentStepsInKeys = ({ preset }: RequestedSettings): number => (preset === 'paper' ? 100 : 50);

function settingsInKey(settings: RunSettings): Partial<RunSettings> {
  const isUnsaid = (setting: Setting): boolean =>
    setting.newInKeys && canonicalJson(settings[setting.name]) === canonicalJson(valueOfText(setting, setting.beforeRecorded));
  return { ...settings, ...Object.fromEntries(settingsTable().flatMap((one) => (isUnsaid(one) ? [[one.name, undefined]] : []))) };
}

/** The defaults of a release. */
interface Defaults {
  settings: RequestedSettings;
  /** Whether recovery of all weights had lower rates where less than half is pruned. No rate followed from the hidden size then. */
  hasLowerRates: boolean;
}

/**
 * Earlier defaults of the preset nuteprune2, the newest first: fewer steps of recovery; lower rates of recovery for targets below 50%; all
 * of the masks' noise, a higher rank, and more pruning for less recovery; before that, another recovery; and at first, one rate of recovery
 * at any target. With a budget only the model tells the rate (`settingsToLaunch`).
 */
function earlierDefaults(asked: RequestedSettings): Defaults[] {
  const { recipe = 'distill', totalSteps } = asked;
  const steps = (pruning: number, recoveryPerPruning: number): RequestedSettings =>
    prunesAtOnce(recipe) ? {} : { totalSteps: pruning, recoverSteps: Math.floor(pruning * recoveryPerPruning) };
  const shorter = steps(totalSteps ?? 600, 4);
  const longer: RequestedSettings = { loraRank: 64, maskNoise: 1, ...steps(totalSteps ?? 800, 2.5) };
  const byPredictions: RequestedSettings = { ...longer, recoverSchedule: 'cosine', recoverLayerLossWeight: 0 };
  const withRate = (defaults: RequestedSettings): RequestedSettings =>
    budgetSettingOf(asked) === null
      ? { ...defaults, recoverLearningRate: earlierRecoverLearningRate(resolveSettings({ ...defaults, ...asked })) }
      : defaults;
  const lower = [withRate(shorter), withRate(longer), withRate(byPredictions), { ...byPredictions, recoverLearningRate: 0.0007 }];
  return [{ settings: shorter, hasLowerRates: false }, ...lower.map((settings) => ({ settings, hasLowerRates: true }))];
}

/** A run of a study whose record was read: `settings` has the defaults that it was planned with, and `asked` is as recorded. */
export type ReadRun = PlannedRun & { asked?: RequestedSettings };

const asRecorded = ({ asked, ...run }: ReadRun): PlannedRun => ({ ...run, settings: asked ?? run.settings });

/**
 * The settings of a recorded run with the defaults of this release and with earlier ones, the newest first. A run of the first studies
 * names no preset: it was planned when `short` was the default.
 */
function withEachDefaults(recorded: RequestedSettings): Defaults[] {
  const settings: RequestedSettings = { preset: 'short', ...recorded };
  const earlier = earlierDefaults(settings).map((one) => ({ ...one, settings: { ...one.settings, ...settings } }));
  return [{ settings, hasLowerRates: false }, ...earlier];
}

/** The place of the defaults by which a recorded run's key was made, in the order of `withEachDefaults`; 0: those of this release. */
function defaultsOf(run: PlannedRun): number {
  const made = withEachDefaults(run.settings).findIndex(({ settings }) => keyOf({ ...run, settings }) === run.key);
  return Math.max(0, made);
}

/** The settings that a recorded run was planned with. A run whose key was made with earlier defaults keeps these. */
export const settingsAsPlanned = (run: PlannedRun): RequestedSettings => withEachDefaults(run.settings)[defaultsOf(run)]!.settings;

/** Plans a run that differs from another by these settings. Their defaults follow as in the release that planned the other. */
export function planChanged(run: ReadRun, changes: RequestedSettings): PlannedRun {
  const recorded = asRecorded(run);
  const settings: RequestedSettings = { preset: 'short', ...recorded.settings, ...changes };
  return planBy(defaultsOf(recorded), { ...recorded, settings });
}

/** @param place of the defaults in the order of `withEachDefaults` */
function planBy(place: number, run: RunOfStudy): PlannedRun {
  return { ...run, key: keyOf({ ...run, settings: withEachDefaults(run.settings)[place]!.settings }) };
}

/**
 * Plans a run anew that is added to a study. The runs of a study are compared with one another, so they keep the defaults of the release
 * that planned the first ones. An added seed is planned like the runs that have other seeds.
 */
export function planAdded(run: PlannedRun, study: readonly ReadRun[]): PlannedRun {
  const others = study.map(asRecorded);
  const sibling = others.find((one) => withoutSeed(one) === withoutSeed(run));
  if (sibling !== undefined) return { ...planChanged(sibling, { seed: run.settings.seed }), variant: run.variant };
  const place = Math.max(0, ...others.map(defaultsOf));
  if (place === 0) return run;
  const { rateByWidth: _, ...byTarget } = run;
  return planBy(place, withEachDefaults(run.settings)[place]!.hasLowerRates ? byTarget : run);
}

/** Tells whether this release would plan the run with other defaults than those that the run keeps. */
export function keepsEarlierDefaults(run: ReadRun): boolean {
  const { variant, modelPath, data, settings, ...kept } = asRecorded(run);
  const now = planRun({ variant, modelPath, data, settings: { preset: 'short', ...settings } });
  return now.key !== kept.key || now.budgetRate !== kept.budgetRate || now.rateByWidth !== kept.rateByWidth;
}

/** A text that is equal for requests that differ in their seed alone. */
const withoutSeed = ({ modelPath, data, settings }: RunOfStudy): string =>
  canonicalJson({ modelPath, data, settings: { preset: 'short', ...settings, seed: undefined } });

/**
 * The settings to launch a run with. A run that an earlier release planned keeps the rate of recovery or the warm-up of that release, which
 * only the model tells.
 * @param plan completes the settings for the run's model
 */
export async function settingsToLaunch(
  run: ReadRun,
  plan: () => Promise<{ settings: RunSettings; budget: Budget | null }>,
): Promise<RequestedSettings> {
  const { settings, budgetRate, rateByWidth } = run;
  const ofBudget = followingSetting(settings);
  // Seconds stood for the prunable share of their cost before they counted as half of the parameters.
  const { hasLowerRates } = withEachDefaults(settings)[defaultsOf(asRecorded(run))]!;
  const isOfSeconds = budgetRate !== undefined && budgetSettingOf(settings) === 'targetSpeedup' && hasLowerRates;
  const keepsShare = ofBudget !== null && (budgetRate === undefined || isOfSeconds);
  const keepsRate = rateByWidth === undefined && hasRateOfWidth(settings);
  if (!keepsShare && !keepsRate) return settings;
  const { settings: planned, budget } = await plan();
  if (ofBudget === 'warmupSteps') return { ...settings, warmupSteps: warmupSteps(planned) };
  if (!keepsShare) return { ...settings, recoverLearningRate: earlierRecoverLearningRate(planned, budget) };
  const targetSparsity = isOfSeconds ? prunableShareToGo(budget!, planned) : planned.targetSparsity;
  return { ...settings, recoverLearningRate: earlierRecoverLearningRate({ ...planned, targetSparsity }) };
}

/**
 * Returns a text that is equal for runs that read their texts in the same way: by one tokenizer, cut to the same lengths. These runs fail
 * by the same mistake in a text.
 */
export function readingOf({ modelPath, data, settings }: RunOfStudy): string {
  const { batchSize, sequenceLength, evaluationWindow } = resolveSettings(settings);
  return canonicalJson({ modelPath, data, batchSize, sequenceLength, evaluationWindow });
}

/** The id of a study follows from its name. */
export const studyIdOf = (name: string): string => idOfRequest('study', name);

/** The request id of a run's launch. A launch that is sent twice, even by another process after a crash, so makes one run. */
export const requestIdOf = (studyId: string, key: string): string => `study ${studyId} ${key}`;

/** The id of a run, which is known before its launch. */
export const runIdOfStudy = (studyId: string, key: string): string => idOfRequest('run', requestIdOf(studyId, key));

export const studyTag = (studyId: string): string => `study:${studyId}`;

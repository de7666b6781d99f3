// A requested run of a study with its key. All functions are pure.
import { defaultPreset } from '#protocol';
import { budgetSettingOf } from '../pruning-run/method/budget.js';
import { prunesAtOnce } from '../pruning-run/method/phases.js';
import { recoverLearningRate, resolveSettings, warmupSteps, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import { canonicalJson, sha256Hex } from '../event-sourcing/canonical-json.js';
import { idOfRequest } from '../event-sourcing/event-ids.js';
import type { RunSettings } from '../pruning-run/record/pruning-run.events.js';
import type { PlannedRun } from './study.events.js';

/** The number of characters of a key, enough to tell many runs of one study apart. */
const KEY_LENGTH = 16;

export type RunOfStudy = Omit<PlannedRun, 'key' | 'settings'> & { settings: RequestedSettings };

/** The setting whose default follows from a budget, by presets. */
const FOLLOWS_FROM_BUDGET = { nuteprune2: 'recoverLearningRate', paper: 'warmupSteps' } as const;

/** Returns the setting of a run that follows from its budget; null where none does. */
function followingSetting(settings: RequestedSettings): 'recoverLearningRate' | 'warmupSteps' | null {
  const { preset = defaultPreset() } = settings;
  const setting = Object.hasOwn(FOLLOWS_FROM_BUDGET, preset) ? FOLLOWS_FROM_BUDGET[preset as keyof typeof FOLLOWS_FROM_BUDGET] : null;
  return setting === null || settings[setting] !== undefined || budgetSettingOf(settings) === null ? null : setting;
}

/** Plans a run by the rules of this release. */
export function planRun(run: RunOfStudy): PlannedRun {
  return withKey(followingSetting(run.settings) === null ? run : { ...run, budgetRate: 'prunable share' });
}

/**
 * Adds the key and the preset to a run. Settings that are left out and those that give the default have the same key. The preset is
 * recorded, since another release may have another default.
 */
export function withKey(run: RunOfStudy): PlannedRun {
  const planned = { ...run, settings: { preset: defaultPreset(), ...run.settings } };
  return { ...planned, key: keyOf(planned) };
}

function keyOf({ modelPath, data, settings, budgetRate }: RunOfStudy): string {
  const { maskNoise, ...others } = resolveSettings(settings);
  const complete = { ...others, maskNoise: maskNoise === 1 ? undefined : maskNoise }; // keys of earlier releases have all the noise, unsaid
  return sha256Hex(canonicalJson({ modelPath, data, settings: complete, budgetRate })).slice(0, KEY_LENGTH);
}

/**
 * Earlier defaults of the preset nuteprune2, the newest first: all of the masks' noise, a higher rank, and more pruning for less recovery;
 * before that, another recovery; and at first, one rate of recovery at any target.
 */
function earlierDefaults({ recipe = 'distill', totalSteps = 800 }: RequestedSettings): RequestedSettings[] {
  const steps: RequestedSettings = prunesAtOnce(recipe) ? {} : { totalSteps, recoverSteps: Math.floor(totalSteps * 2.5) };
  const longer: RequestedSettings = { loraRank: 64, maskNoise: 1, ...steps };
  const byPredictions: RequestedSettings = { ...longer, recoverSchedule: 'cosine', recoverLayerLossWeight: 0 };
  return [longer, byPredictions, { ...byPredictions, recoverLearningRate: 0.0007 }];
}

/**
 * The settings that a recorded run was planned with. A run of the first studies names no preset: it was planned when `short` was the
 * default. A run whose key was made with earlier defaults keeps these.
 */
export function settingsAsPlanned(run: PlannedRun): RequestedSettings {
  const settings: RequestedSettings = { preset: 'short', ...run.settings };
  const candidates = [settings, ...earlierDefaults(settings).map((earlier) => ({ ...earlier, ...settings }))];
  return candidates.find((candidate) => keyOf({ ...run, settings: candidate }) === run.key) ?? settings;
}

/**
 * The settings to launch a run with. A run that an earlier release planned with a budget keeps the rate of recovery or the warm-up of that
 * release, which only the model tells.
 * @param plan completes the settings for the run's model
 */
export async function settingsToLaunch(
  { settings, budgetRate }: Pick<PlannedRun, 'settings' | 'budgetRate'>,
  plan: () => Promise<RunSettings>,
): Promise<RequestedSettings> {
  const setting = followingSetting(settings);
  if (budgetRate !== undefined || setting === null) return settings;
  const planned = await plan();
  return setting === 'warmupSteps'
    ? { ...settings, warmupSteps: warmupSteps(planned) }
    : { ...settings, recoverLearningRate: recoverLearningRate(planned) };
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

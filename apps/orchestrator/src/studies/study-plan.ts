// A requested run of a study with its key. All functions are pure.
import { defaultPreset } from '#protocol';
import { resolveSettings, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import { canonicalJson, sha256Hex } from '../event-sourcing/canonical-json.js';
import { idOfRequest } from '../event-sourcing/event-ids.js';
import type { PlannedRun } from './study.events.js';

/** The number of characters of a key, enough to tell many runs of one study apart. */
const KEY_LENGTH = 16;

export type RunOfStudy = Omit<PlannedRun, 'key' | 'settings'> & { settings: RequestedSettings };

/**
 * Adds the key and the preset to a run. Settings that are left out and those that give the default have the same key. The preset is
 * recorded, since another release may have another default.
 */
export function planRun(run: RunOfStudy): PlannedRun {
  const planned = { ...run, settings: { preset: defaultPreset(), ...run.settings } };
  const { modelPath, data, settings } = planned;
  const key = sha256Hex(canonicalJson({ modelPath, data, settings: resolveSettings(settings) })).slice(0, KEY_LENGTH);
  return { ...planned, key };
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

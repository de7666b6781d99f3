// A requested run with its key; pure.
import { defaultPreset } from '#protocol';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';
import { resolveSettings } from '../pruning-run/method/run-settings.js';
import { canonicalJson, sha256Hex } from '../event-sourcing/canonical-json.js';
import { idOfRequest } from '../event-sourcing/event-ids.js';
import type { PlannedRun } from './study.events.js';

/** Characters of a key: many runs of one study are told apart. */
const KEY_LENGTH = 16;

export type RunOfStudy = Omit<PlannedRun, 'key' | 'settings'> & { settings: RequestedSettings };

/**
 * Settings that are left out and those that say the default are the same. The preset is recorded, since another release may have another
 * default.
 */
export function planRun(run: RunOfStudy): PlannedRun {
  const { modelPath, data } = run;
  const settings = { preset: defaultPreset(), ...run.settings };
  return { ...run, settings, key: sha256Hex(canonicalJson({ modelPath, data, settings: resolveSettings(settings) })).slice(0, KEY_LENGTH) };
}

/** Runs with equal readings fail of the same mistake in their text: one tokenizer reads it, and it is cut to the same lengths. */
export function readingOf({ modelPath, data, settings }: RunOfStudy): string {
  const { batchSize, sequenceLength, evaluationWindow } = resolveSettings(settings);
  return canonicalJson({ modelPath, data, batchSize, sequenceLength, evaluationWindow });
}

/** A study is known by its name. */
export const studyIdOf = (name: string): string => idOfRequest('study', name);

/** By which a launch that is sent twice, also by another process after a crash, makes one run. */
export const requestIdOf = (studyId: string, key: string): string => `study ${studyId} ${key}`;

/** Known before it is launched. */
export const runIdOfStudy = (studyId: string, key: string): string => idOfRequest('run', requestIdOf(studyId, key));

export const studyTag = (studyId: string): string => `study:${studyId}`;

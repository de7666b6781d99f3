// Engines of earlier releases, which would do without the settings that they do not know. A run that needs such a setting goes to other
// engines, or waits for one, so that its record names nothing that was not in use. The same holds for a server that was set back to an
// earlier release.
import { earlierEngine, settingOfName, settingsTable, UnknownNumbers, type EspalierError, type SettingName } from '#protocol';
import { requestsToTrain } from '../engines/wire/engine-requests.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { EngineSlot } from './engine-slot.js';

/** The parts of a run by which an engine tells whether it can train the run, and which decide what the engine must know. */
export type RunToFit = Pick<PruningRunState, 'settings' | 'model'> & { budget?: PruningRunState['budget'] | undefined };

export interface EarlierEngine {
  name: string;
  unknown: UnknownNumbers;
}

/** The engines that do not know all requests of this release. An engine that never answered is not among them: it gets no work yet. */
export function earlierEngines(slots: readonly Pick<EngineSlot, 'name' | 'about'>[]): EarlierEngine[] {
  return slots.flatMap(({ name, about }) => {
    const unknown = about === null ? null : UnknownNumbers.to(about.known);
    return unknown === null ? [] : [{ name, unknown }];
  });
}

/** Returns for each engine that must not have the run the reason, by the engine's name: "is of an earlier release and ..." */
export function unfitFor(run: RunToFit, earlier: readonly EarlierEngine[]): Map<string, string> {
  if (earlier.length === 0) return new Map();
  const requests = requestsToTrain(run);
  const problems = earlier.map(({ name, unknown }) => [name, unknown.problemWith(...requests)] as const);
  return new Map(problems.filter(([, problem]) => problem !== ''));
}

/** The settings, and the words among their values, that this server does not know, since a later release recorded them. */
export function laterSettings(settings: object): string[] {
  const known = new Set<string>(settingsTable().map(({ name }) => name));
  return Object.entries(settings).flatMap(([name, value]) => {
    if (!known.has(name)) return [name];
    const { allowed } = settingOfName(name as SettingName);
    const words = allowed.length === 0 ? [] : ([value].flat() as string[]);
    return words.filter((word) => !allowed.includes(word)).map((word) => `${name} ${word}`);
  });
}

/** The runs that a later release launched with settings of its own. This server would do without these, so the runs wait for an update. */
export function waitsOfLaterRuns(runs: readonly Pick<PruningRunState, 'runId' | 'settings'>[]): { runId: string; why: string }[] {
  return runs.flatMap(({ runId, settings }) => {
    const later = laterSettings(settings);
    const why = `a later release launched it with settings that this server does not know: ${later.join(', ')}; update the server`;
    return later.length === 0 ? [] : [{ runId, why }];
  });
}

/** Names the engine of this slot in the error by which it refused a message, since it is of an earlier release. */
export function namingEngine(error: EspalierError, slot: string): EspalierError {
  const { problem } = error.metadata;
  if (error.code !== 'ENGINE_OF_EARLIER_RELEASE' || problem === undefined) return error;
  return earlierEngine(`engine ${slot}`, problem);
}

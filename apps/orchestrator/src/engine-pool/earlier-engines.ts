// Engines of earlier releases, which would do without the settings that they do not know. A run that needs such a setting goes to other
// engines, or waits for one, so that its record names nothing that was not in use.
import { earlierEngine, UnknownNumbers, type EspalierError } from '#protocol';
import { requestsToTrain } from '../engines/wire/engine-requests.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { EngineSlot } from './engine-slot.js';

/** The parts of a run that decide whether an engine can train the run, and which settings the engine must know for that. */
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

/** Returns for each engine that must not have the run the reason, by the engine's name: "is older than the server and ..." */
export function unfitFor(run: RunToFit, earlier: readonly EarlierEngine[]): Map<string, string> {
  if (earlier.length === 0) return new Map();
  const requests = requestsToTrain(run);
  const problems = earlier.map(({ name, unknown }) => [name, unknown.problemWith(...requests)] as const);
  return new Map(problems.filter(([, problem]) => problem !== ''));
}

/** Names the engine of this slot in the error by which it refused a message, since it is of an earlier release. */
export function namingEngine(error: EspalierError, slot: string): EspalierError {
  const { problem } = error.metadata;
  if (error.code !== 'ENGINE_OF_EARLIER_RELEASE' || problem === undefined) return error;
  return earlierEngine(`engine ${slot}`, problem);
}

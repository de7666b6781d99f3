// The aggregate of a run. `evolve` folds events into the state by the table of pruning-run.evolutions.ts; `decide` turns a change into
// events by that of pruning-run.decisions.ts.
import type { NewFact, RecordedEvent } from '../record/pruning-run.events.js';
import { DECISIONS, type RunChange } from './pruning-run.decisions.js';
import { withEngineTime } from './engine-time.js';
import { EVOLUTIONS, runForked, runLaunched } from './pruning-run.evolutions.js';
import type { PruningRunState } from './pruning-run.state.js';

export * from './pruning-run.state.js';

/** @returns null only while all events so far were of unknown types */
export function evolve(state: PruningRunState, event: RecordedEvent): PruningRunState;
export function evolve(state: PruningRunState | null, event: RecordedEvent): PruningRunState | null;
export function evolve(state: PruningRunState | null, event: RecordedEvent): PruningRunState | null {
  if (event.type === 'RunLaunched' || event.type === 'RunForked') {
    if (state !== null) return advanced(state, event); // a second launch in the stream changes nothing
    return event.type === 'RunLaunched' ? runLaunched(event) : runForked(event);
  }
  if (state === null) return null;
  if (event.type === 'Unknown') return advanced(state, event);
  const evolution: (state: PruningRunState, event: never) => PruningRunState = EVOLUTIONS[event.type];
  return advanced(withEngineTime(state, evolution(state, event as never), event), event);
}

function advanced(state: PruningRunState, { at, chain, type }: RecordedEvent): PruningRunState {
  return { ...state, revision: state.revision + 1, chain, updatedAt: type === 'Unknown' ? state.updatedAt : at };
}

export function fold(events: Iterable<RecordedEvent>): PruningRunState | null {
  let state: PruningRunState | null = null;
  for (const event of events) state = evolve(state, event);
  return state;
}

/**
 * Returns the facts that a change adds, or none where they are recorded already (a retry).
 * @throws EspalierError when the run refuses the change
 */
export function decide(state: PruningRunState | null, change: RunChange, at: string): NewFact[] {
  const decision: (state: PruningRunState | null, change: never, at: string) => NewFact[] = DECISIONS[change.kind];
  return decision(state, change as never, at);
}

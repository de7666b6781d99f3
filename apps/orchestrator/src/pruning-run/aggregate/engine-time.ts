// The time in which the attempts of a run had an engine. All hours of the usage follow from it.
import type { PruningRunEvent } from '../record/pruning-run.events.js';
import type { PruningRunState } from './pruning-run.state.js';

/**
 * Ends the span of an attempt that the event ends. The attempt of an orchestrator that died ends with its last recorded event, since the
 * event that closes it may come days later.
 */
export function withEngineTime(before: PruningRunState, after: PruningRunState, event: PruningRunEvent): PruningRunState {
  const span = before.attemptSpan;
  if (span === null || span.endedAt !== null || after.attemptOpen) return after;
  const isLate = event.type === 'EngineLost' && event.data.cause === 'orchestrator';
  const endedAt = isLate ? before.updatedAt : event.at;
  const attemptSpan = { ...span, endedAt };
  return { ...after, attemptSpan, engineSeconds: before.engineSeconds + secondsOf(attemptSpan) };
}

/** The seconds of a span. A clock that was set back gives 0. */
function secondsOf({ startedAt, endedAt }: { startedAt: string; endedAt: string }): number {
  return Math.max(0, (Date.parse(endedAt) - Date.parse(startedAt)) / 1_000) || 0;
}

/** The seconds in which the run had an engine, with those of an attempt under way. */
export function engineSecondsAt(
  { engineSeconds, attemptSpan }: Pick<PruningRunState, 'engineSeconds' | 'attemptSpan'>,
  nowMs: number,
): number {
  if (attemptSpan === null || attemptSpan.endedAt !== null) return engineSeconds;
  return engineSeconds + secondsOf({ startedAt: attemptSpan.startedAt, endedAt: new Date(nowMs).toISOString() });
}

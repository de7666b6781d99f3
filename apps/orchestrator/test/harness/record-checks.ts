// What must hold for a run's record whatever was killed: nothing seen is lost or changed, nothing is there twice, the chain
// is whole, and the recorded segments of the current branch follow one another.
import type { v1 } from '#protocol';
import { chainProblem, CHAIN_START, decodeStored } from '../../src/pruning-run/stored-event.js';
import { fold, type PruningRunState } from '../../src/pruning-run/pruning-run.js';

/** Everything that is wrong; empty when all is well. */
export function recordProblems(events: v1.HistoryEvent[], seenBefore: v1.HistoryEvent[] = []): string[] {
  const problems: string[] = [];
  seenBefore.forEach((before, index) => {
    const now = events[index];
    if (now === undefined) problems.push(`event ${index} (${before.type}) was lost`);
    else if (now.eventId !== before.eventId || now.dataJson !== before.dataJson) problems.push(`event ${index} (${before.type}) has changed`);
  });
  const ids = new Set<string>();
  let chain = CHAIN_START;
  let step = 0;
  events.forEach((event, index) => {
    if (Number(event.revision) !== index) problems.push(`event ${index} has revision ${event.revision}`);
    if (ids.has(event.eventId)) problems.push(`event id ${event.eventId} is there twice`);
    ids.add(event.eventId);
    const stored = { id: event.eventId, type: event.type, data: Buffer.from(event.dataJson) };
    const broken = chainProblem(chain, stored);
    if (broken !== null) problems.push(`event ${index} (${event.type}): ${broken}`);
    const decoded = decodeStored(stored);
    chain = decoded.chain;
    if (decoded.type === 'RunForked') step = decoded.data.from.step;
    if (decoded.type === 'RunRewound') step = decoded.data.toStep;
    if (decoded.type === 'MasksUpdated') {
      if (decoded.data.firstStep !== step) problems.push(`event ${index}: a segment starts at step ${decoded.data.firstStep}, the one before ended at ${step}`);
      step = decoded.data.state.step;
    }
  });
  if (events.length > 0) {
    const marks = foldHistory(events).teachers.map((one) => one.mark);
    if (marks.some((mark, index) => mark !== index + 1)) problems.push(`the teachers are ${marks.join(' ')}`);
  }
  return problems;
}

export function foldHistory(events: v1.HistoryEvent[]): PruningRunState {
  return fold(events.map(({ type, dataJson }) => decodeStored({ type, data: Buffer.from(dataJson) })))!;
}

/** The parts of a Run that must be the same however the views came about. */
export function comparable(run: v1.Run): Record<string, unknown> {
  const { engineLeaseUntil: _, etaSeconds: _e, tokensPerSecond: _t, ...rest } = run;
  return JSON.parse(JSON.stringify(rest, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value))) as Record<string, unknown>;
}

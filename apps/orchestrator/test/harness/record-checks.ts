// Checks that hold for a run's record after any kill: no event that was seen is lost or changed, none is stored twice, the chain is whole,
// the recorded segments of the current branch follow one another, and every step had the right teacher.
import type { v1 } from '#protocol';
import { chainProblem, CHAIN_START, decodeStored } from '../../src/pruning-run/record/stored-event.js';
import type { PruningRunEventData } from '../../src/pruning-run/record/pruning-run.events.js';
import { evolve, fold, type PruningRunState } from '../../src/pruning-run/aggregate/pruning-run.js';
import { sameTeacher, teacherAt } from '../../src/pruning-run/method/teacher-policy.js';
import { ReplayPlanner } from '../../src/verification/replay/replay-plan.js';

/** All problems of the record. The list is empty where all is well. */
export function recordProblems(events: v1.HistoryEvent[], seenBefore: v1.HistoryEvent[] = []): string[] {
  const problems: string[] = [];
  seenBefore.forEach((before, index) => {
    const now = events[index];
    if (now === undefined) problems.push(`event ${index} (${before.type}) was lost`);
    else if (now.eventId !== before.eventId || now.dataJson !== before.dataJson)
      problems.push(`event ${index} (${before.type}) has changed`);
  });
  const ids = new Set<string>();
  let chain = CHAIN_START;
  let step = 0;
  let run: PruningRunState | null = null;
  let instructions: PruningRunEventData<'TeacherAssigned'>[] = [];
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
    if (decoded.type === 'RunRewound') {
      step = decoded.data.toStep;
      instructions = [];
    }
    if (decoded.type === 'TeacherAssigned') {
      const before = instructions.at(-1);
      const other = before?.phase !== decoded.data.phase || !sameTeacher(before.teacher, decoded.data.teacher);
      const moved = before === undefined || (other && before.fromStep < decoded.data.fromStep);
      if (!moved)
        problems.push(`event ${index}: a teacher is assigned from step ${decoded.data.fromStep} on who was, or before the one before`);
      instructions.push(decoded.data);
    }
    if (decoded.type === 'MasksUpdated') {
      if (decoded.data.firstStep !== step)
        problems.push(`event ${index}: a segment starts at step ${decoded.data.firstStep}, the one before ended at ${step}`);
      step = decoded.data.state.step;
      problems.push(...instructionProblems(run!, instructions, decoded.data).map((problem) => `event ${index}: ${problem}`));
    }
    run = evolve(run, decoded);
  });
  if (events.length > 0) {
    const { teachers, discarded } = foldHistory(events);
    const marks = [...teachers.map((one) => one.mark), ...discarded.flatMap((one) => one.marks)].sort((left, right) => left - right);
    if ([...new Set(marks)].some((mark, index) => mark !== index + 1)) problems.push(`the teachers are ${marks.join(' ')}`);
  }
  return problems;
}

/** Compares the recorded teacher of each step in the segment after `run` with the teacher that should instruct it. */
function instructionProblems(
  run: PruningRunState,
  instructions: PruningRunEventData<'TeacherAssigned'>[],
  { firstStep, state }: PruningRunEventData<'MasksUpdated'>,
): string[] {
  const problems: string[] = [];
  for (let step = firstStep; step < state.step; step += 1) {
    const recorded = instructions.findLast(({ fromStep }) => fromStep <= step)?.teacher;
    const due = teacherAt(run, step).teacher;
    if (recorded === undefined || !sameTeacher(recorded, due))
      problems.push(`step ${step} was due to ${JSON.stringify(due)}, recorded is ${JSON.stringify(recorded)}`);
  }
  if (instructions.some(({ fromStep }) => fromStep >= state.step))
    problems.push('a teacher is assigned from a step on that is not recorded yet');
  return problems;
}

export function foldHistory(events: v1.HistoryEvent[]): PruningRunState {
  return fold(events.map(({ type, dataJson }) => decodeStored({ type, data: Buffer.from(dataJson) })))!;
}

/** The parts of a Run that must be the same in whatever way the views were made. */
export function comparable(run: v1.Run): Record<string, unknown> {
  const { engineLeaseUntil: _, etaSeconds: _e, tokensPerSecond: _t, liveStep: _s, liveMetrics: _m, waitingFor: _w, ...rest } = run;
  return JSON.parse(JSON.stringify(rest, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value))) as Record<
    string,
    unknown
  >;
}

/** The plan of the steps that the record says must be computed again. */
export function replayPlan(events: v1.HistoryEvent[]): ReplayPlanner {
  const planner = new ReplayPlanner();
  for (const { type, dataJson, revision } of events) planner.push(decodeStored({ type, data: Buffer.from(dataJson) }), Number(revision));
  return planner;
}

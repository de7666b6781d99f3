// All changes of a run, each with the decision that turns it into facts or refuses it. This file has the changes that clients ask for.
// engine-decisions.ts has those that the engine reports, and starting-points.ts the states that forks and rewinds start from.
import { begun } from '../../event-sourcing/not-begun-error.js';
import { sameMeasure } from '../record/measures.js';
import type { NewFact, PruningRunEventData } from '../record/pruning-run.events.js';
import { describe, type Describe } from './describing.js';
import { discard, findDiscard, remove, type Delete, type Discard } from './discarding.js';
import { runDeleted, runFinished, runStillActive } from './pruning-run.errors.js';
import { isFinished, isPrepared, stepOf, type PruningRunState } from './pruning-run.state.js';
import * as engine from './engine-decisions.js';
import { fork, rewound, type StartingPoint } from './starting-points.js';

/** Returns the run, or throws if it was deleted. */
function alive(state: PruningRunState | null): PruningRunState {
  const run = begun(state);
  if (run.status === 'deleted') throw runDeleted(run);
  return run;
}

type Launch = { kind: 'launch' } & PruningRunEventData<'RunLaunched'>;

function launch(state: PruningRunState | null, { kind: _, ...data }: Launch, at: string): NewFact[] {
  return state === null ? [{ type: 'RunLaunched', at, data }] : [];
}

type Prepare = { kind: 'prepare' } & PruningRunEventData<'RunPrepared'>;

/** Records that the run is prepared, even if the run was paused in the meantime: the work is done. */
function prepare(state: PruningRunState | null, { kind: _, ...data }: Prepare, at: string): NewFact[] {
  const run = begun(state);
  if (isPrepared(run)) return []; // the change is a retry
  if (isFinished(run)) throw runFinished(run, ': there is nothing to prepare');
  return [{ type: 'RunPrepared', at, data }];
}

interface FailPreparation {
  kind: 'failPreparation';
  code: string;
  message: string;
  field: string;
  /** Whether the cause may pass or a user may remove it. The run then pauses; otherwise it fails. */
  passes: boolean;
}

function failPreparation(state: PruningRunState | null, change: FailPreparation, at: string): NewFact[] {
  const run = begun(state);
  if (isFinished(run) || isPrepared(run) || run.status === 'paused') return []; // the run no longer waits for its preparation
  const { code, message, field, passes } = change;
  if (passes) return [engine.givenUp(run, { code, message, field }, at)];
  return [{ type: 'RunFailed', at, data: { step: stepOf(run), code, message, field } }];
}

interface RequestPause {
  kind: 'requestPause';
}

function requestPause(state: PruningRunState | null, _: RequestPause, at: string): NewFact[] {
  const run = alive(state);
  if (isFinished(run)) throw runFinished(run, ': there is nothing to pause');
  if (run.pausedBy === 'request' || run.pausedBy === 'obstacle' || run.pauseRequested) return [];
  const step = stepOf(run);
  if (run.attemptOpen) return [{ type: 'RunPauseRequested', at, data: { step } }];
  return [{ type: 'RunPaused', at, data: { step, by: 'request' } }];
}

interface ConfirmPause {
  kind: 'confirmPause';
  by: 'request' | 'shutdown';
}

function confirmPause(state: PruningRunState | null, { by }: ConfirmPause, at: string): NewFact[] {
  const run = begun(state);
  if (isFinished(run) || run.status === 'paused' || (by === 'request' && !run.pauseRequested)) return [];
  return [{ type: 'RunPaused', at, data: { step: stepOf(run), by } }];
}

interface Cancel {
  kind: 'cancel';
  reason: string;
}

function cancel(state: PruningRunState | null, { reason }: Cancel, at: string): NewFact[] {
  const run = alive(state);
  if (run.status === 'cancelled') return [];
  if (isFinished(run)) throw runFinished(run, ': there is nothing to cancel');
  return [{ type: 'RunCancelled', at, data: { step: stepOf(run), reason } }];
}

export interface Resume {
  kind: 'resume';
  from: StartingPoint;
  acceptOtherNumerics: boolean;
}

function resume(state: PruningRunState | null, change: Resume, at: string): NewFact[] {
  const run = alive(state);
  const { acceptOtherNumerics } = change;
  if (change.from.kind !== 'last') {
    if (!isFinished(run) && run.status !== 'paused') throw runStillActive(run, ': pause or cancel it before rewinding it');
    return [rewound(run, change.from, acceptOtherNumerics, at)];
  }
  if (run.status === 'completed' || run.status === 'cancelled') {
    throw runFinished(run, whatCanFollow(run));
  }
  const waiting = run.status === 'paused' || run.status === 'failed' || run.pauseRequested;
  if (!waiting) throw runStillActive(run, ': it goes on by itself');
  const data = { fromStep: stepOf(run), stateDigest: run.current?.stateDigest ?? null, acceptOtherNumerics };
  return [{ type: 'RunResumed', at, data }];
}

/** The end of an error's text: what the user can do with a run that can't resume from its last state. */
function whatCanFollow({ runId, teachers, current }: PruningRunState): string {
  if (current === null) return ' before its first recorded state: launch another';
  const rewind = teachers.length > 0 ? `, espalier resume ${runId} --from-teacher N rewinds it to a teacher` : '';
  return `: espalier fork ${runId} --last trains on from its last state${rewind}`;
}

export type RecordEvaluation = { kind: 'recordEvaluation' } & PruningRunEventData<'EvaluationRecorded'>;

/**
 * Records an evaluation, unless one of the same subject, state and measure is recorded already. The numerics of its engine are recorded
 * where they are not those of the training.
 */
function recordEvaluation(state: PruningRunState | null, change: RecordEvaluation, at: string): NewFact[] {
  const { kind: _, numericsFingerprint, ...data } = change;
  const run = alive(state);
  const known = run.evaluations.some(
    (one) => one.subject === data.subject && one.stateDigest === data.stateDigest && sameMeasure(one, data),
  );
  if (known) return [];
  const differ = numericsFingerprint !== undefined && run.numericsFingerprint !== null && numericsFingerprint !== run.numericsFingerprint;
  return [{ type: 'EvaluationRecorded', at, data: differ ? { ...data, numericsFingerprint } : data }];
}

export type RecordSpeed = { kind: 'recordSpeed' } & PruningRunEventData<'SpeedRecorded'>;

/** Records a speed. Each measurement is another one, so an equal one is recorded, too. */
function recordSpeed(state: PruningRunState | null, { kind: _, ...data }: RecordSpeed, at: string): NewFact[] {
  alive(state);
  return [{ type: 'SpeedRecorded', at, data }];
}

export type RecordReplay = { kind: 'recordReplay'; branch: number } & PruningRunEventData<'StepsReplayed'>;

/** Records steps that a verification computed again, unless the run was deleted or rewound in the meantime. */
function recordReplay(state: PruningRunState | null, { kind: _, branch, ...data }: RecordReplay, at: string): NewFact[] {
  const run = begun(state);
  return run.status === 'deleted' || run.branch !== branch ? [] : [{ type: 'StepsReplayed', at, data }];
}

type RecordExport = { kind: 'recordExport' } & PruningRunEventData<'ModelExported'>;

function recordExport(state: PruningRunState | null, { kind: _, ...data }: RecordExport, at: string): NewFact[] {
  const run = alive(state);
  const isKnown = run.exports.some((one) => one.exportDigest === data.exportDigest && one.stateDigest === data.stateDigest);
  // An export that was removed and then made again is recorded again.
  return isKnown && findDiscard(run, ({ digest }) => digest === data.exportDigest) === null ? [] : [{ type: 'ModelExported', at, data }];
}

interface Prioritize {
  kind: 'prioritize';
  priority: number;
}

function prioritize(state: PruningRunState | null, { priority }: Prioritize, at: string): NewFact[] {
  const run = alive(state);
  if (isFinished(run)) throw runFinished(run, ': it waits for no engine');
  return priority === run.priority ? [] : [{ type: 'RunPrioritized', at, data: { priority } }];
}

/** The decision on each kind of change. */
export const DECISIONS = {
  launch,
  fork,
  prepare,
  failPreparation,
  startAttempt: engine.startAttempt,
  chooseSteps: engine.chooseSteps,
  attachEngine: engine.attachEngine,
  recordSegment: engine.recordSegment,
  fallBack: engine.fallBack,
  recordEngineLoss: engine.recordEngineLoss,
  requestPause,
  confirmPause,
  resume,
  complete: engine.complete,
  fail: engine.fail,
  cancel,
  prioritize,
  recordEvaluation,
  recordSpeed,
  recordExport,
  recordReplay,
  describe: (state: PruningRunState | null, change: Describe, at: string) => describe(alive(state), change, at),
  discard: (state: PruningRunState | null, change: Discard, at: string) => discard(begun(state), change, at),
  delete: (state: PruningRunState | null, change: Delete, at: string) => remove(begun(state), change, at),
};
/** A client asks for a change, or the driver does for the engine. */
export type RunChange = Parameters<(typeof DECISIONS)[keyof typeof DECISIONS]>[1];

// The aggregate of a run. `evolve` folds events into the state; `decide` turns a change into events by the functions of
// pruning-run.decisions.ts.
import { afterReplay } from '#audit';
import { begun } from '../../event-sourcing/not-begun-error.js';
import { afterDescribe, describe } from './describing.js';
import { afterDelete, afterDiscard, discard, remove } from './discarding.js';
import type { NewFact, PruningRunEvent, RecordedEvent } from '../record/pruning-run.events.js';
import * as on from './pruning-run.evolutions.js';
import type { PruningRunState } from './pruning-run.state.js';
import * as whether from './pruning-run.decisions.js';
import type { RunChange } from './run-change.js';

export * from './pruning-run.state.js';

/** @returns null only while all events so far were of unknown types */
export function evolve(state: PruningRunState, event: RecordedEvent): PruningRunState;
export function evolve(state: PruningRunState | null, event: RecordedEvent): PruningRunState | null;
export function evolve(state: PruningRunState | null, event: RecordedEvent): PruningRunState | null {
  if (event.type === 'RunLaunched' || event.type === 'RunForked') {
    if (state !== null) return advanced(state, event); // a second launch in the stream changes nothing
    return event.type === 'RunLaunched' ? on.runLaunched(event) : on.runForked(event);
  }
  if (state === null) return null;
  return advanced(event.type === 'Unknown' ? state : applied(state, event), event);
}

function advanced(state: PruningRunState, { at, chain, type }: RecordedEvent): PruningRunState {
  return { ...state, revision: state.revision + 1, chain, updatedAt: type === 'Unknown' ? state.updatedAt : at };
}

type LaterEvent = Exclude<PruningRunEvent, { type: 'RunLaunched' | 'RunForked' }>;

function applied(state: PruningRunState, event: LaterEvent): PruningRunState {
  switch (event.type) {
    case 'RunPrepared':
      return on.runPrepared(state, event);
    case 'AttemptStarted':
      return on.attemptStarted(state, event);
    case 'StepsChosen':
      return on.stepsChosen(state, event);
    case 'EngineAttached':
      return on.engineAttached(state, event);
    case 'TeacherAssigned':
      return { ...state, assignment: event.data };
    case 'PhaseStarted':
      return { ...state, phase: event.data.phase };
    case 'SparsityAdvanced':
      return on.sparsityAdvanced(state, event);
    case 'MasksUpdated':
      return on.masksUpdated(state, event);
    case 'TeacherSnapshotted':
      return on.teacherSnapshotted(state, event);
    case 'StepsReplayed':
      return { ...state, replays: afterReplay(state.replays, event.data) };
    case 'TargetSparsityReached':
      return { ...state, targetReachedStep: event.data.step, targetReachedAt: event.at };
    case 'StepsSkipped':
      return on.stepsSkipped(state, event);
    case 'EngineLost':
      return on.engineLost(state, event);
    case 'RunPauseRequested':
      return { ...state, pauseRequested: true };
    case 'RunPaused':
      return on.runPaused(state, event);
    case 'RunResumed':
      return on.runResumed(state, event);
    case 'RunRewound':
      return on.runRewound(state, event);
    case 'RunCompleted':
      return on.ended(state, event, 'completed', null);
    case 'RunFailed':
      return on.ended(state, event, 'failed', event.data);
    case 'RunCancelled':
      return on.ended(state, event, 'cancelled', state.failure);
    case 'EvaluationRecorded':
      return { ...state, evaluations: [...state.evaluations, { ...event.data, at: event.at, abandoned: false }] };
    case 'SpeedRecorded':
      return { ...state, speeds: [...state.speeds, { ...event.data, at: event.at, abandoned: false }] };
    case 'RunDescribed':
      return afterDescribe(state, event.data);
    case 'ArtifactsDiscarded':
      return afterDiscard(state, event.data, state.revision + 1);
    case 'RunDeleted':
      return afterDelete(state, event.data, event.at, state.revision + 1);
    case 'ModelExported':
      return on.modelExported(state, event);
  }
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
  switch (change.kind) {
    case 'launch':
      return whether.launch(state, change, at);
    case 'fork':
      return whether.fork(state, change, at);
    case 'prepare':
      return whether.prepare(state, change, at);
    case 'failPreparation':
      return whether.failPreparation(state, change, at);
    case 'startAttempt':
      return whether.startAttempt(state, change, at);
    case 'chooseSteps':
      return whether.chooseSteps(state, change, at);
    case 'attachEngine':
      return whether.attachEngine(state, change, at);
    case 'recordSegment':
      return whether.recordSegment(state, change, at);
    case 'fallBack':
      return whether.fallBack(state, change, at);
    case 'recordEngineLoss':
      return whether.recordEngineLoss(state, change, at);
    case 'requestPause':
      return whether.requestPause(state, at);
    case 'confirmPause':
      return whether.confirmPause(state, change, at);
    case 'resume':
      return whether.resume(state, change, at);
    case 'complete':
      return whether.complete(state, change, at);
    case 'fail':
      return whether.fail(state, change, at);
    case 'cancel':
      return whether.cancel(state, change, at);
    case 'recordEvaluation':
      return whether.recordEvaluation(state, change, at);
    case 'recordSpeed':
      return whether.recordSpeed(state, change, at);
    case 'recordExport':
      return whether.recordExport(state, change, at);
    case 'recordReplay':
      return whether.recordReplay(state, change, at);
    case 'describe':
      return describe(whether.alive(state), change, at);
    case 'discard':
      return discard(begun(state), change, at);
    case 'delete':
      return remove(begun(state), change, at);
  }
}

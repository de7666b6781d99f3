// How each event changes the state of a run.
import { afterReplay, replaysBefore } from '#audit';
import { afterDescribe } from './describing.js';
import { afterDelete, afterDiscard } from './discarding.js';
import { attemptsWithoutProgress } from './restart-policy.js';
import type { InheritedTeacher, PruningRunEvent, PruningRunEventType } from '../record/pruning-run.events.js';
import { phaseOfDone, phasesOf } from '../method/phases.js';
import { idleStatus, stepOf, type PruningRunState, type RunStatus, type Teacher } from './pruning-run.state.js';

/** The state remembers the skipped steps of at least this many last steps, and those of the whole last segment if it is longer. */
const SKIPS_REMEMBERED_STEPS = 100;

type Skips = PruningRunState['latestSkips'];
type EventOf<T extends PruningRunEventType> = Extract<PruningRunEvent, { type: T }>;

export function runLaunched({ data, at, chain, context }: EventOf<'RunLaunched'>): PruningRunState {
  const { runId, name, tags, note, requestId, requestDigest, model, data: source, settings, following, budget } = data;
  return {
    runId,
    name,
    tags: tags ?? [],
    note: note ?? '',
    requestId,
    requestDigest,
    model,
    data: source,
    settings,
    ...(following === undefined ? {} : { following }),
    ...(budget === undefined ? {} : { budget }),
    phases: phasesOf(settings),
    phase: 'prune',
    origin: null,
    preparationSeconds: 0,
    status: idleStatus({ data: source }),
    failure: null,
    pauseRequested: false,
    pausedBy: null,
    current: null,
    openDigest: null,
    previous: null,
    scans: [],
    teachers: [],
    abandonedTeachers: [],
    abandonedStates: [],
    replays: [],
    assignment: null,
    targetReachedStep: null,
    targetReachedAt: null,
    scheduledSparsity: 0,
    branch: 0,
    branches: [],
    priority: 0,
    attempt: 0,
    attemptOpen: false,
    attemptSpan: null,
    engineSeconds: 0,
    restarts: 0,
    attemptsWithoutProgress: 0,
    furthestStep: 0,
    restartNotBefore: null,
    segmentRevision: 0,
    engine: null,
    numericsFingerprint: null,
    acceptOtherNumerics: false,
    skippedSteps: 0,
    latestSkips: noSkipsSince(0),
    trainingSeconds: 0,
    lastSegment: null,
    evaluations: [],
    speeds: [],
    exports: [],
    discarded: [],
    deleted: null,
    launchedAt: at,
    launchedBy: context?.actor ?? null,
    ...(context?.actorName === undefined ? {} : { launchedByName: context.actorName }),
    updatedAt: at,
    endedAt: null,
    revision: 0,
    chain,
  };
}

const noSkipsSince = (fromStep: number): Skips => ({ fromStep, steps: [] });

function forgetSkipsBefore({ fromStep, steps }: Skips, step: number): Skips {
  return step <= fromStep ? { fromStep, steps } : { fromStep: step, steps: steps.filter((one) => one >= step) };
}

export function runForked(event: EventOf<'RunForked'>): PruningRunState {
  const { parentRunId, parentRevision, from, teacherMark, inheritedTeachers, targetReachedStep } = event.data;
  return {
    ...runLaunched({ ...event, type: 'RunLaunched' }),
    origin: { parentRunId, parentRevision, from, teacherMark },
    current: from,
    phase: phaseOfDone(event.data.settings, from.step).kind,
    latestSkips: noSkipsSince(from.step),
    teachers: inheritedTeachers.map((one) => inherited(one, event.at)),
    targetReachedStep,
    targetReachedAt: targetReachedStep === null ? null : event.at,
  };
}

function inherited(teacher: InheritedTeacher, at: string): Teacher {
  return { ...teacher, revision: null, branch: 0, at };
}

function runPrepared(state: PruningRunState, { data: { model, data, seconds } }: EventOf<'RunPrepared'>): PruningRunState {
  return { ...state, model, data, preparationSeconds: seconds, status: state.status === 'preparing' ? 'queued' : state.status };
}

function attemptStarted(state: PruningRunState, { data, at }: EventOf<'AttemptStarted'>): PruningRunState {
  const status = state.status === 'restarting' ? 'restarting' : 'preparing';
  const attemptSpan = { startedAt: at, endedAt: null };
  return { ...state, attempt: data.attempt, attemptOpen: true, attemptSpan, status, pausedBy: null, restartNotBefore: null };
}

function stepsChosen({ following: _, ...state }: PruningRunState, { data }: EventOf<'StepsChosen'>): PruningRunState {
  const settings = { ...state.settings, ...data.settings };
  return { ...state, settings, phases: phasesOf(settings) };
}

function engineAttached(state: PruningRunState, { data }: EventOf<'EngineAttached'>): PruningRunState {
  return {
    ...state,
    status: 'training',
    failure: null,
    engine: data,
    numericsFingerprint: data.evaluatesOnly ? state.numericsFingerprint : data.numericsFingerprint,
    acceptOtherNumerics: false,
  };
}

function sparsityAdvanced(state: PruningRunState, { data }: EventOf<'SparsityAdvanced'>): PruningRunState {
  return { ...state, scheduledSparsity: data.scheduledSparsity, segmentRevision: state.revision + 1 };
}

/** After a rewind a layer is scored again, with the same result. */
function layerScanned(state: PruningRunState, { data: { layer, forms } }: EventOf<'LayerScanned'>): PruningRunState {
  return { ...state, scans: [...state.scans.filter((one) => one.layer !== layer), { layer, forms }] };
}

function masksUpdated(state: PruningRunState, { data }: EventOf<'MasksUpdated'>): PruningRunState {
  const steps = data.state.step - data.firstStep;
  return {
    ...state,
    current: data.state,
    openDigest: data.openDigest,
    previous: state.current,
    attemptsWithoutProgress: 0,
    furthestStep: 0,
    trainingSeconds: state.trainingSeconds + data.trainingSeconds,
    lastSegment: { steps, tokens: data.tokens, seconds: data.trainingSeconds },
    latestSkips: forgetSkipsBefore(state.latestSkips, Math.min(data.firstStep, data.state.step - SKIPS_REMEMBERED_STEPS)),
  };
}

function teacherSnapshotted(state: PruningRunState, { data, at }: EventOf<'TeacherSnapshotted'>): PruningRunState {
  const { mark, threshold } = data;
  const teacher: Teacher = {
    mark,
    threshold,
    state: data.state,
    revision: state.revision + 1,
    ownerRunId: state.runId,
    branch: state.branch,
    at,
  };
  return { ...state, teachers: [...state.teachers, teacher] };
}

function stepsSkipped(state: PruningRunState, { data }: EventOf<'StepsSkipped'>): PruningRunState {
  return {
    ...state,
    skippedSteps: state.skippedSteps + data.steps.length,
    latestSkips: { ...state.latestSkips, steps: [...state.latestSkips.steps, ...data.steps] },
  };
}

function engineLost(state: PruningRunState, { data, at }: EventOf<'EngineLost'>): PruningRunState {
  const { code, message } = data;
  return {
    ...state,
    status: 'restarting',
    attemptOpen: false,
    restarts: state.restarts + 1,
    failure: { code, message, field: '' },
    attemptsWithoutProgress: attemptsWithoutProgress(state, data),
    furthestStep: Math.max(state.furthestStep, data.reachedStep ?? 0),
    // An engine that recorded no step has not made the run's numerics its own.
    numericsFingerprint: state.segmentRevision === 0 ? null : state.numericsFingerprint,
    restartNotBefore: data.restartDelayMs === 0 ? null : new Date(Date.parse(at) + data.restartDelayMs).toISOString(),
  };
}

function runPaused(state: PruningRunState, { data }: EventOf<'RunPaused'>): PruningRunState {
  return {
    ...state,
    status: 'paused',
    pausedBy: data.by,
    failure: data.cause ?? state.failure,
    pauseRequested: data.by === 'shutdown' && state.pauseRequested,
    attemptOpen: false,
  };
}

function runResumed(state: PruningRunState, { data }: EventOf<'RunResumed'>): PruningRunState {
  const status = state.attemptOpen ? state.status : idleStatus(state);
  return { ...afresh(state), status, acceptOtherNumerics: data.acceptOtherNumerics };
}

export function runRewound(state: PruningRunState, { data }: Pick<EventOf<'RunRewound'>, 'data'>): PruningRunState {
  const kept = state.teachers.filter((teacher) => teacher.state.step <= data.toStep);
  const abandoned = state.teachers.slice(kept.length);
  return {
    ...afresh(state),
    status: state.attemptOpen ? state.status : idleStatus(state),
    acceptOtherNumerics: data.acceptOtherNumerics,
    current: data.state,
    phase: phaseOfDone(state.settings, data.toStep).kind,
    openDigest: null,
    previous: null,
    latestSkips: noSkipsSince(data.toStep),
    teachers: kept,
    abandonedTeachers: [...state.abandonedTeachers, ...abandoned],
    abandonedStates: state.current === null ? state.abandonedStates : [...state.abandonedStates, state.current.stateDigest],
    replays: replaysBefore(state.replays, data.toStep),
    assignment: null,
    branch: state.branch + 1,
    branches: [...state.branches, { parentBranch: state.branch, fromStep: data.toStep }],
    targetReachedStep: data.targetReachedStep,
    targetReachedAt: data.targetReachedStep === null ? null : state.targetReachedAt,
    lastSegment: null,
    pauseRequested: data.teacherMark === null && state.pauseRequested, // a rewind by the run itself (no mark) keeps the request
    evaluations: state.evaluations.map((one) => abandonedAfter(data.toStep, one)),
    speeds: state.speeds.map((one) => abandonedAfter(data.toStep, one)),
    exports: state.exports.map((one) => abandonedAfter(data.toStep, one)),
  };
}

/** Adds the export. An export that was removed and made again counts as removed no longer. */
function modelExported(state: PruningRunState, { data, at }: EventOf<'ModelExported'>): PruningRunState {
  const made = new Set([data.exportDigest, ...data.files.map(({ digest }) => digest)]);
  const discarded = state.discarded.filter(({ digest }) => !made.has(digest));
  return { ...state, discarded, exports: [...state.exports, { ...data, at, abandoned: false }] };
}

/**
 * Marks an evaluation or export of a state after `step` as abandoned. The intact model's evaluations have step 0, so they are never marked.
 */
function abandonedAfter<T extends { step: number; abandoned: boolean }>(step: number, one: T): T {
  return one.step > step ? { ...one, abandoned: true } : one;
}

function afresh(state: PruningRunState): PruningRunState {
  return {
    ...state,
    failure: null,
    pauseRequested: false,
    pausedBy: null,
    endedAt: null,
    attemptsWithoutProgress: 0,
    furthestStep: 0,
    restartNotBefore: null,
    latestSkips: noSkipsSince(stepOf(state)),
  };
}

function ended(state: PruningRunState, { at }: PruningRunEvent, status: RunStatus, failure: PruningRunState['failure']): PruningRunState {
  const { code, message, field } = failure ?? { code: '', message: '', field: '' };
  return { ...state, status, failure: failure && { code, message, field }, attemptOpen: false, pauseRequested: false, endedAt: at };
}

type LaterType = Exclude<PruningRunEventType, 'RunLaunched' | 'RunForked'>;
/** The effect of each event after the first one of a run. */
export const EVOLUTIONS: { [T in LaterType]: (state: PruningRunState, event: EventOf<T>) => PruningRunState } = {
  RunPrepared: runPrepared,
  AttemptStarted: attemptStarted,
  StepsChosen: stepsChosen,
  EngineAttached: engineAttached,
  TeacherAssigned: (state, event) => ({ ...state, assignment: event.data }),
  PhaseStarted: (state, event) => ({ ...state, phase: event.data.phase }),
  SparsityAdvanced: sparsityAdvanced,
  MasksUpdated: masksUpdated,
  LayerScanned: layerScanned,
  TeacherSnapshotted: teacherSnapshotted,
  StepsReplayed: (state, event) => ({ ...state, replays: afterReplay(state.replays, event.data) }),
  TargetSparsityReached: (state, event) => ({ ...state, targetReachedStep: event.data.step, targetReachedAt: event.at }),
  StepsSkipped: stepsSkipped,
  EngineLost: engineLost,
  RunPauseRequested: (state) => ({ ...state, pauseRequested: true }),
  RunPaused: runPaused,
  RunResumed: runResumed,
  RunRewound: runRewound,
  RunCompleted: (state, event) => ended(state, event, 'completed', null),
  RunFailed: (state, event) => ended(state, event, 'failed', event.data),
  RunCancelled: (state, event) => ended(state, event, 'cancelled', state.failure),
  EvaluationRecorded: (state, event) => ({
    ...state,
    evaluations: [...state.evaluations, { ...event.data, at: event.at, abandoned: false }],
  }),
  SpeedRecorded: (state, event) => ({ ...state, speeds: [...state.speeds, { ...event.data, at: event.at, abandoned: false }] }),
  RunPrioritized: (state, event) => ({ ...state, priority: event.data.priority }),
  RunDescribed: (state, event) => afterDescribe(state, event.data),
  ArtifactsDiscarded: (state, event) => afterDiscard(state, event.data, state.revision + 1),
  RunDeleted: (state, event) => afterDelete(state, event.data, event.at, state.revision + 1),
  ModelExported: modelExported,
};

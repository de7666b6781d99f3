// The decisions on the engine's reports. Every report names its attempt, and a report of an attempt that has ended is refused.
import { choicesOfNumerics, numericsDifference, numericsWords } from '#comparison';
import { begun } from '../../event-sourcing/not-begun-error.js';
import type {
  LayerScan,
  NewFact,
  Obstacle,
  PruningRunEventData,
  RefitOutcome,
  RunSettings,
  SegmentLoss,
  StateFact,
  StepRates,
} from '../record/pruning-run.events.js';
import { attemptStale, RunError } from './pruning-run.errors.js';
import { isFinished, isPrepared, isRunnable, stepOf, waitsForSteps, type PruningRunState } from './pruning-run.state.js';
import { isMendable } from '../record/obstacles.js';
import { ATTEMPTS_WITHOUT_PROGRESS_MAX, attemptsWithoutProgress, restartDelayMs } from './restart-policy.js';
import { runRewound } from './pruning-run.evolutions.js';
import { fallenBack } from './starting-points.js';
import { endStepOf, phaseAt } from '../method/phases.js';
import { settingsForTime } from '../method/run-time.js';
import { sameTeacher, snapshotsDue, stretchesOf, teacherAt } from '../method/teacher-policy.js';

/** Returns the run if `attempt` is its open attempt, and throws otherwise. */
function attempted(state: PruningRunState | null, attempt: number): PruningRunState {
  const run = begun(state);
  if (!run.attemptOpen || run.attempt !== attempt) throw attemptStale(run, attempt);
  return run;
}

export interface StartAttempt {
  kind: 'startAttempt';
  attempt: number;
}

export function startAttempt(state: PruningRunState | null, { attempt }: StartAttempt, at: string): NewFact[] {
  const run = begun(state);
  if (!isRunnable(run) || !isPrepared(run) || run.attemptOpen || attempt !== run.attempt + 1) throw attemptStale(run, attempt);
  return [{ type: 'AttemptStarted', at, data: { attempt, fromStep: stepOf(run), stateDigest: run.current?.stateDigest ?? null } }];
}

/** The rates that the attempt's engine has, by which the steps of a run with a time are chosen. */
export interface ChooseSteps {
  kind: 'chooseSteps';
  attempt: number;
  rates: StepRates;
  spentSeconds: number;
}

export function chooseSteps(state: PruningRunState | null, change: ChooseSteps, at: string): NewFact[] {
  const run = attempted(state, change.attempt);
  if (!waitsForSteps(run)) return []; // the report is a retry
  const { attempt, rates, spentSeconds } = change;
  const chosen = settingsForTime(run, rates, spentSeconds);
  const settings = Object.fromEntries(
    Object.entries(chosen.settings).filter(([name, value]) => value !== run.settings[name as keyof RunSettings]),
  );
  return [{ type: 'StepsChosen', at, data: { attempt, settings, rates, spentSeconds, expectedSeconds: chosen.seconds } }];
}

export interface AttachEngine {
  kind: 'attachEngine';
  attempt: number;
  engine: Pick<
    PruningRunEventData<'EngineAttached'>,
    'engineVersion' | 'engineBuild' | 'backend' | 'device' | 'threads' | 'numericsFingerprint' | 'leaseMs' | 'engineName'
  >;
  stateDigest: string;
}

export function attachEngine(state: PruningRunState | null, change: AttachEngine, at: string): NewFact[] {
  const run = attempted(state, change.attempt);
  const { numericsFingerprint } = change.engine;
  const changedFrom = run.numericsFingerprint !== null && run.numericsFingerprint !== numericsFingerprint ? run.numericsFingerprint : null;
  const evaluatesOnly = changedFrom !== null && stepOf(run) >= endStepOf(run.settings);
  if (changedFrom !== null && !evaluatesOnly && !run.acceptOtherNumerics) throw numericsChanged(run, changedFrom, numericsFingerprint);
  const data = {
    attempt: change.attempt,
    ...change.engine,
    numericsChangedFrom: changedFrom,
    ...(evaluatesOnly ? { evaluatesOnly } : {}),
    resumedFromStep: stepOf(run),
    resumedFromStateDigest: change.stateDigest,
  };
  return [{ type: 'EngineAttached', at, data }, ...phaseStarted(run, change.attempt, at), ...reassigned(run, at)];
}

/** The refusal of steps on other numerics than those that the run was trained with. */
export function numericsChanged(run: PruningRunState, before: string, now: string, engine = 'this engine'): RunError {
  const trainedBy = run.engine?.numericsFingerprint === before ? `release ${run.engine.engineVersion}, ` : '';
  const choices = choicesOfNumerics(before, now);
  const chosen = choices.length === 0 ? '' : ` (${choices.join(', ')})`;
  return new RunError(
    'NUMERICS_CHANGED',
    `run ${run.runId} was trained on other numerics (${trainedBy}${numericsWords(before)}) than ${engine} has: ` +
      `${numericsDifference(before, now)}. It goes on in the same bits on an engine with its numerics${chosen}; one elsewhere may join ` +
      `(espalier engine --join). A fork (espalier fork ${run.runId} --last) takes the numerics of today. Where other numerics are ` +
      'accepted (--accept-other-numerics) the run goes on here, no longer bitwise the same (docs/how-a-run-survives.md)',
    run,
    'accept_other_numerics',
  );
}

export interface RecordSegment {
  kind: 'recordSegment';
  attempt: number;
  firstStep: number;
  state: StateFact;
  scheduledSparsity: number;
  loss: SegmentLoss;
  skippedSteps: number[];
  trainingSeconds: number;
  tokens: number;
  metricsRevision: number;
  metricsDigest: string;
  openDigest: string;
  refit?: RefitOutcome | undefined;
  scans: LayerScan[];
}

/**
 * The facts of a trained segment: the skipped steps, the layers that were scored, the teachers on the way, the new state, and the marks or
 * target that this state reaches.
 */
export function recordSegment(state: PruningRunState | null, change: RecordSegment, at: string): NewFact[] {
  const run = attempted(state, change.attempt);
  if (run.engine?.evaluatesOnly) throw numericsChanged(run, run.numericsFingerprint!, run.engine.numericsFingerprint);
  const { attempt, firstStep, state: reached, scheduledSparsity } = change;
  if (run.current?.step === reached.step && run.current.stateDigest === reached.stateDigest) return []; // the report is a retry
  if (firstStep !== stepOf(run) || reached.step <= firstStep) {
    throw new RunError('ATTEMPT_STALE', `a segment of steps ${firstStep} to ${reached.step} does not follow step ${stepOf(run)}`, run);
  }
  const { expectedSparsity, hardSparsity, step } = reached;
  const facts: NewFact[] = [{ type: 'SparsityAdvanced', at, data: { attempt, step, scheduledSparsity, expectedSparsity, hardSparsity } }];
  if (change.skippedSteps.length > 0) {
    facts.push({ type: 'StepsSkipped', at, data: { attempt, steps: change.skippedSteps, cause: 'non_finite' } });
  }
  facts.push(...change.scans.map((scan) => ({ type: 'LayerScanned', at, data: { attempt, ...scan } }) as const));
  const { kind: _, scheduledSparsity: _s, skippedSteps: _k, scans: _l, ...segment } = change;
  const phase = phaseAt(run.settings, firstStep).kind;
  const data = { ...segment, phase };
  const within = stretchesOf(run, firstStep, step)
    .slice(1)
    .map(({ firstStep: fromStep, ...assignment }) => ({ fromStep, phase, ...assignment }));
  facts.push(
    ...within.map((one) => ({ type: 'TeacherAssigned', at, data: one }) as const),
    { type: 'MasksUpdated', at, data },
    ...reachedAgain(run, reached, at),
  );
  return [...facts, ...boundaryFacts({ ...run, assignment: within.at(-1) ?? run.assignment }, attempt, reached, at)];
}

/**
 * Records that a rewound run came to a state that it had had before. The state holds all that the steps between have done, so these steps
 * were computed twice with the same result.
 */
function reachedAgain(run: PruningRunState, { step, stateDigest }: StateFact, at: string): NewFact[] {
  const { engine, abandonedStates, abandonedTeachers } = run;
  const rewoundTo = run.branches.at(-1)?.fromStep;
  if (engine === null || rewoundTo === undefined) return [];
  if (!abandonedStates.includes(stateDigest) && !abandonedTeachers.some((one) => one.state.stateDigest === stateDigest)) return [];
  const { engineName, backend: device, numericsFingerprint } = engine;
  const stretches = [{ firstStep: rewoundTo, endStep: step, stateDigest, agrees: true }];
  const by = { engineName, isOtherEngine: false, device, numericsFingerprint };
  return [{ type: 'StepsReplayed', at, data: { cause: 'retraining', ...by, tolerance: null, stretches } }];
}

/** The facts at the end of a segment: snapshots that are due, the target if it is reached, and the next teacher. */
function boundaryFacts(run: PruningRunState, attempt: number, state: StateFact, at: string): NewFact[] {
  const facts: NewFact[] = [];
  const marks = run.phase === 'prune' ? snapshotsDue(run, state) : [];
  for (const { mark, threshold } of marks)
    facts.push({ type: 'TeacherSnapshotted', at, data: { attempt, phase: run.phase, mark, threshold, state } });
  const { targetSparsity, totalSteps } = run.settings;
  const { step, expectedSparsity } = state;
  let { targetReachedStep } = run;
  if (run.phase === 'prune' && targetReachedStep === null && expectedSparsity >= targetSparsity) {
    targetReachedStep = step;
    facts.push({ type: 'TargetSparsityReached', at, data: { step, expectedSparsity, targetSparsity, remainingSteps: totalSteps - step } });
  }
  if (step >= endStepOf(run.settings)) return facts;
  const teachers = [...run.teachers, ...marks.map((mark) => ({ ...mark, state }))];
  const then = { ...run, teachers, targetReachedStep, current: state };
  return [...facts, ...phaseStarted(then, attempt, at), ...reassigned(then, at)];
}

/** Records the start of a phase where the next step belongs to another phase than the last one. */
function phaseStarted(
  { settings, current, phase: before }: Pick<PruningRunState, 'settings' | 'current' | 'phase'>,
  attempt: number,
  at: string,
): NewFact[] {
  if (current === null || current.step >= endStepOf(settings)) return [];
  const { kind: phase, endStep } = phaseAt(settings, current.step);
  if (phase === before) return [];
  const { step: fromStep, stateDigest, masksDigest } = current;
  return [{ type: 'PhaseStarted', at, data: { attempt, phase, fromStep, endStep, stateDigest, masksDigest } }];
}

function reassigned(
  run: Pick<PruningRunState, 'assignment' | 'branch' | 'current'> & Parameters<typeof teacherAt>[0],
  at: string,
): NewFact[] {
  const fromStep = stepOf(run);
  const { teacher, reason, explanation } = teacherAt(run, fromStep);
  const phase = phaseAt(run.settings, fromStep).kind;
  if (run.assignment !== null && run.assignment.phase === phase && sameTeacher(run.assignment.teacher, teacher)) return [];
  const afterRewind = run.assignment === null && run.branch > 0;
  return [
    {
      type: 'TeacherAssigned',
      at,
      data: { fromStep, phase, teacher, reason: afterRewind ? 'rewound' : reason, explanation },
    },
  ];
}

/**
 * Takes the run back to an earlier state because the artifact of a later one is damaged; the steps after it are trained again.
 * `stateDigest` is null for the fresh state that follows from the seed.
 */
export interface FallBack {
  kind: 'fallBack';
  attempt: number;
  stateDigest: string | null;
}

/** Takes the run back to an earlier state. The same attempt goes on from there, so its teacher is recorded at once. */
export function fallBack(state: PruningRunState | null, { attempt, stateDigest }: FallBack, at: string): NewFact[] {
  const run = attempted(state, attempt);
  if ((run.current?.stateDigest ?? null) === stateDigest) return []; // the report is a retry
  const fallen = fallenBack(run, stateDigest, at);
  const rewound = runRewound(run, fallen);
  return [fallen, ...phaseStarted(rewound, attempt, at), ...reassigned(rewound, at)];
}

export interface RecordEngineLoss {
  kind: 'recordEngineLoss';
  attempt: number;
  cause: 'engine' | 'orchestrator';
  code: string;
  message: string;
  /** The number of steps done when the engine reported its last step, recorded or not. Absent where the engine reported none. */
  reachedStep?: number | undefined;
}

export function recordEngineLoss(state: PruningRunState | null, change: RecordEngineLoss, at: string): NewFact[] {
  const run = attempted(state, change.attempt);
  const { attempt, cause, code, message, reachedStep } = change;
  const fruitless = attemptsWithoutProgress(run, change);
  const step = stepOf(run);
  const delayMs = cause === 'orchestrator' ? 0 : restartDelayMs(fruitless - 1);
  const lost: NewFact = {
    type: 'EngineLost',
    at,
    data: { attempt, cause, code, message, lastStep: step, reachedStep, restartDelayMs: delayMs },
  };
  if (fruitless < ATTEMPTS_WITHOUT_PROGRESS_MAX) {
    return run.pauseRequested ? [lost, { type: 'RunPaused', at, data: { step, by: 'request' } }] : [lost];
  }
  const why = `${fruitless} attempts in a row ended without progress, the last one so: ${message}`;
  return [lost, givenUp(run, { code, message: why, field: '' }, at)];
}

export interface Complete {
  kind: 'complete';
  attempt: number;
  evaluationError: { code: string; message: string } | null;
}

export function complete(state: PruningRunState | null, change: Complete, at: string): NewFact[] {
  const run = attempted(state, change.attempt);
  const { current } = run;
  if (current === null || current.step < endStepOf(run.settings)) {
    throw new RunError('INTERNAL', `run ${run.runId} has steps left to train`, run);
  }
  const { step, stateDigest, expectedSparsity, hardSparsity } = current;
  const { targetSparsity } = run.settings;
  const { evaluationError } = change;
  const data = { step, stateDigest, expectedSparsity, hardSparsity, targetSparsity, trainingSeconds: run.trainingSeconds, evaluationError };
  return [{ type: 'RunCompleted', at, data }];
}

export interface Fail {
  kind: 'fail';
  attempt: number;
  code: string;
  message: string;
  field: string;
}

export function fail(state: PruningRunState | null, change: Fail, at: string): NewFact[] {
  const run = attempted(state, change.attempt);
  if (isFinished(run)) return [];
  const { code, message, field } = change;
  return [givenUp(run, { code, message, field }, at)];
}

/** Pauses the run where a user can remove the cause, and fails it where no user can. */
export function givenUp(run: PruningRunState, cause: Obstacle, at: string): NewFact {
  const step = stepOf(run);
  if (isMendable(cause)) return { type: 'RunPaused', at, data: { step, by: 'obstacle', cause } };
  return { type: 'RunFailed', at, data: { step, ...cause } };
}

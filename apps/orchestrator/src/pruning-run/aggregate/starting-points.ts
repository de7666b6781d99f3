// The starting point of a rewind, a fall back or a fork: a recorded state of a run, with all facts that held at it.
import { isOffTarget } from '#comparison';
import { invalidRequest, settingOfName, type FieldViolation } from '#protocol';
import type {
  Budget,
  DataIdentity,
  InheritedTeacher,
  NewFact,
  PruningRunEventData,
  RunSettings,
  StateFact,
} from '../record/pruning-run.events.js';
import { artifactDiscarded, findDiscard } from './discarding.js';
import { RunError, runDeleted } from './pruning-run.errors.js';
import { teachersUpTo, type PruningRunState, type Teacher } from './pruning-run.state.js';
import { budgetOfForkViolations, shareToGo } from '../method/budget.js';
import { lambdaLearningRateOf, maskNoise, recoverLearningRate, recoverWarmupSteps, settingsViolations } from '../method/run-settings.js';
import { endStepOf, prunesAtOnce } from '../method/phases.js';
import { digestStartingWith } from './short-digests.js';

export type StartingPoint = { kind: 'last' } | { kind: 'mark'; mark: number } | { kind: 'digest'; stateDigest: string };

type Rewound = Extract<NewFact, { type: 'RunRewound' }>;

export function rewound(
  run: PruningRunState,
  from: Exclude<StartingPoint, { kind: 'last' }>,
  acceptOtherNumerics: boolean,
  at: string,
): NewFact {
  const teacher = findTeacher(run, from);
  if (!run.teachers.includes(teacher)) {
    throw new RunError(
      'TEACHER_ABANDONED',
      `the teacher at step ${teacher.state.step} is on a branch that run ${run.runId} was rewound from: fork from it instead`,
      run,
      'state_digest',
    );
  }
  return rewoundTo(run, teacher.state, teacher.mark, acceptOtherNumerics, at);
}

/**
 * The states that a run can fall back to by itself, the latest first. No state from before a fork's beginning is among them, since the
 * fork's settings did not hold there.
 */
export function statesToFallBackTo(run: PruningRunState): StateFact[] {
  const own = run.teachers.filter((one) => one.ownerRunId === run.runId).map((one) => one.state);
  return [run.previous, ...own, run.origin?.from ?? null].filter((state) => state !== null).sort((left, right) => right.step - left.step);
}

/** @param stateDigest the state to go back to, or null for the fresh state that follows from the seed */
export function fallenBack(run: PruningRunState, stateDigest: string | null, at: string): Rewound {
  const state = statesToFallBackTo(run).find((one) => one.stateDigest === stateDigest) ?? null;
  if (state === null && (stateDigest !== null || run.origin !== null)) {
    throw new RunError('INTERNAL', `run ${run.runId} can't fall back to state ${stateDigest ?? 'of its seed'}`, run);
  }
  return rewoundTo(run, state, null, run.acceptOtherNumerics, at);
}

function rewoundTo(
  run: PruningRunState,
  state: StateFact | null,
  teacherMark: number | null,
  acceptOtherNumerics: boolean,
  at: string,
): Rewound {
  const toStep = state?.step ?? 0;
  // Several marks can share one state, and then all of them stay.
  const kept = run.teachers.filter((one) => one.state.step <= toStep);
  const lastKept = kept[kept.length - 1]?.revision ?? 0;
  const targetReachedStep = run.targetReachedStep !== null && run.targetReachedStep <= toStep ? run.targetReachedStep : null;
  const abandonedFromRevision = state !== null && state === run.previous ? run.segmentRevision : lastKept + 1;
  return { type: 'RunRewound', at, data: { toStep, state, teacherMark, abandonedFromRevision, acceptOtherNumerics, targetReachedStep } };
}

export interface Fork extends Omit<PruningRunEventData<'RunLaunched'>, 'model' | 'settings' | 'data' | 'budget'> {
  kind: 'fork';
  parent: PruningRunState;
  from: StartingPoint;
  overrides: Partial<RunSettings>;
  data: DataIdentity | null; // null: the parent's data
}

export function fork(state: PruningRunState | null, change: Fork, at: string): NewFact[] {
  if (state !== null) return [];
  const { runId, name, tags, note, requestId, requestDigest, parent, overrides } = change;
  if (parent.status === 'deleted') throw runDeleted(parent, 'parent_run_id');
  const refused = budgetOfForkViolations(parent.budget, overrides);
  if (refused.length > 0) throw invalidRequest(refused);
  const settings = settingsOfFork(parent.settings, overrides, parent.budget ?? null, parent.model.hiddenSize);
  const { from, teacherMark, inheritedTeachers } = forkPoint(parent, change.from);
  refuseMeaningless(settings, parent, from);
  const data = change.data ?? parent.data;
  return [
    {
      type: 'RunForked',
      at,
      data: {
        runId,
        name,
        tags,
        note,
        requestId,
        requestDigest,
        model: parent.model,
        data,
        settings,
        ...(parent.budget === undefined ? {} : { budget: parent.budget }),
        parentRunId: parent.runId,
        parentRevision: parent.revision,
        from,
        teacherMark,
        inheritedTeachers,
        overrides: change.data === null ? overrides : { ...overrides, data: change.data },
        targetReachedStep: targetReachedBy(parent, settings, from),
      },
    },
  ];
}

/**
 * Completes the settings of a fork. Where it has no recovery and does not name what recovery trains, it takes LoRA, as a launch does, since
 * own weights need recovery. Where its steps become fewer than the parent's warm-up and it names no warm-up, the warm-up keeps its share of
 * the steps. Where it changes the rule that holds the sparsity and names no rate, it takes that rule's rate. Another amount of a
 * budget changes the share of the cost that has to go. A rate of recovery, or a noise of the masks, that followed from the parent's target
 * now follows from the fork's target.
 */
export function settingsOfFork(
  parent: RunSettings,
  overrides: Partial<RunSettings>,
  budget: Budget | null = null,
  hiddenSize?: number,
): RunSettings {
  const settings = { ...parent, ...overrides, time: 0 }; // the parent's steps are chosen already
  if (overrides.recoverWeights === undefined && settings.recoverSteps === 0) settings.recoverWeights = 'lora';
  if (budget !== null && overrides[budget.setting] !== undefined) settings.targetSparsity = shareToGo(budget, settings);
  if (overrides.warmupSteps === undefined && settings.warmupSteps > settings.totalSteps) {
    settings.warmupSteps = Math.floor(settings.totalSteps * (parent.warmupSteps / parent.totalSteps));
  }
  if (overrides.recoverWarmupSteps === undefined && settings.recoverSteps !== parent.recoverSteps) {
    settings.recoverWarmupSteps = recoverWarmupSteps(settings.recoverSteps);
  }
  const rateFollows = parent.recoverLearningRate === recoverLearningRate(parent, budget, hiddenSize);
  if (overrides.recoverLearningRate === undefined && rateFollows) {
    settings.recoverLearningRate = recoverLearningRate(settings, budget, hiddenSize);
  }
  if (overrides.maskNoise === undefined && parent.maskNoise === maskNoise(parent, budget)) settings.maskNoise = maskNoise(settings, budget);
  const { sparsityControl } = overrides;
  if (sparsityControl !== undefined && sparsityControl !== parent.sparsityControl) {
    settings.lambdaLearningRate = overrides.lambdaLearningRate ?? lambdaLearningRateOf(sparsityControl, parent.preset);
  }
  return settings;
}

interface ForkPoint {
  from: StateFact;
  teacherMark: number | null;
  inheritedTeachers: InheritedTeacher[];
}

function forkPoint(parent: PruningRunState, from: StartingPoint): ForkPoint {
  if (from.kind === 'last') {
    if (parent.current === null) {
      throw new RunError(
        'RUN_NOT_STARTED',
        `run ${parent.runId} has no recorded state yet: launch another run instead`,
        parent,
        'parent_run_id',
      );
    }
    return { from: parent.current, teacherMark: null, inheritedTeachers: parent.teachers.map(inherit) };
  }
  const teacher = findTeacher(parent, from);
  return { from: teacher.state, teacherMark: teacher.mark, inheritedTeachers: teachersUpTo(parent, teacher).map(inherit) };
}

function inherit({ mark, threshold, state, ownerRunId }: Teacher): InheritedTeacher {
  return { mark, threshold, state, ownerRunId };
}

function findTeacher(run: PruningRunState, from: Exclude<StartingPoint, { kind: 'last' }>): Teacher {
  const found = from.kind === 'mark' ? run.teachers.find((one) => one.mark === from.mark) : teacherOfState(run, from.stateDigest);
  if (found !== undefined) return found;
  const field = from.kind === 'mark' ? 'teacher_mark' : 'state_digest';
  const gone = findDiscard(run, (one) => (from.kind === 'mark' ? one.marks.includes(from.mark) : one.digest === from.stateDigest));
  if (gone !== null) throw artifactDiscarded(run, gone, field);
  const wanted = from.kind === 'mark' ? `teacher ${from.mark}` : `teacher with state ${from.stateDigest}`;
  const marks = run.teachers.map((one) => one.mark);
  const [first, last] = [marks[0], marks.at(-1)];
  const some = first === last ? `its only teacher is ${first}` : `its teachers are ${first} to ${last}`;
  const known = first === undefined ? 'it has no teachers yet' : some;
  throw new RunError('TEACHER_NOT_FOUND', `run ${run.runId} has no ${wanted}: ${known}`, run, field);
}

/** Finds a teacher by the digest of its state or the beginning of the digest, abandoned branches included. */
function teacherOfState(run: PruningRunState, prefix: string): Teacher | undefined {
  const teachers = [...run.teachers, ...run.abandonedTeachers];
  const digest = digestStartingWith(
    prefix,
    teachers.map((one) => one.state.stateDigest),
    'state_digest',
  );
  return teachers.find((one) => one.state.stateDigest === digest);
}

/** The step at which the fork's past reached the fork's own target, or null. */
function targetReachedBy(parent: PruningRunState, settings: RunSettings, from: StateFact): number | null {
  const parentReached = parent.targetReachedStep !== null && parent.targetReachedStep <= from.step;
  if (settings.targetSparsity === parent.settings.targetSparsity && parentReached) return parent.targetReachedStep;
  return from.expectedSparsity >= settings.targetSparsity ? from.step : null;
}

/** Refuses another method: masks that were closed at once can't be learned further, and learned masks can't be closed at once. */
function otherMethod(settings: RunSettings, parent: RunSettings): FieldViolation[] {
  const refused = (field: string, description: string): FieldViolation[] => [
    { field: `settings.${field}`, description: `${description}: launch a run instead`, code: 'FORK_FIELD_FIXED' },
  ];
  const atOnce = prunesAtOnce(settings.recipe) || prunesAtOnce(parent.recipe);
  if (atOnce && settings.recipe !== parent.recipe)
    return refused('recipe', `cannot become ${settings.recipe} after ${parent.recipe} has begun`);
  if (atOnce && settings.targetSparsity !== parent.targetSparsity)
    return refused('target_sparsity', `cannot be changed: ${parent.recipe} has pruned already`);
  return [];
}

/** The settings that act on the first step of recovery alone. */
const AT_BEGIN_OF_RECOVERY = ['recoverLoraRank', 'recoverRefitBatches'] as const;

/** Refuses settings that the parent's state can't follow. A state whose own weights have learned has no LoRA, and its masks are fixed. */
function otherWeights(settings: RunSettings, parent: RunSettings, from: StateFact): FieldViolation[] {
  const recovering = from.step > parent.totalSteps;
  if (!recovering) return [];
  if (settings.recoverSteps > 0 && settings.recoverWeights !== parent.recoverWeights) {
    const description =
      `cannot become ${settings.recoverWeights}: where the fork starts ${parent.recoverWeights} has learned already; ` +
      'fork from the end of pruning';
    return [{ field: 'settings.recover_weights', description, code: 'FORK_FIELD_FIXED' }];
  }
  const changed = AT_BEGIN_OF_RECOVERY.find((name) => settings[name] !== parent[name]);
  if (settings.recoverSteps > 0 && changed !== undefined) {
    const description = `must be ${parent[changed]}: where the fork starts, recovery has begun already; fork from the end of pruning`;
    return [{ field: `settings.${settingOfName(changed).field}`, description, code: 'FORK_FIELD_FIXED' }];
  }
  if (parent.recoverWeights !== 'lora' && settings.totalSteps !== parent.totalSteps) {
    const description =
      `must be ${parent.totalSteps}: the state's own weights have learned, so its masks stay; ` + 'fork from the end of pruning';
    return [{ field: 'settings.total_steps', description, code: 'FORK_FIELD_FIXED' }];
  }
  return [];
}

/** Refuses another target where no step of pruning is left that could reach it. */
function targetOutOfReach(settings: RunSettings, parent: PruningRunState, { step, hardSparsity }: StateFact): FieldViolation[] {
  const target = settings.targetSparsity;
  const canMove = settings.totalSteps > step || prunesAtOnce(parent.settings.recipe);
  if (canMove || target === parent.settings.targetSparsity || !isOffTarget(hardSparsity, target)) return [];
  const percent = (share: number): string => `${(share * 100).toFixed(1)}%`;
  const description =
    `asks for a sparsity of ${percent(target)}, but no step of pruning is left, so the fork keeps the ${percent(hardSparsity)} of its ` +
    'first state: more total_steps, or a fork from a teacher, can reach it';
  return [
    { field: `settings.${settingOfName(parent.budget?.setting ?? 'targetSparsity').field}`, description, code: 'FIELD_OUT_OF_RANGE' },
  ];
}

function refuseMeaningless(settings: RunSettings, parent: PruningRunState, from: StateFact): void {
  const violations: FieldViolation[] = settingsViolations(settings, parent.model);
  violations.push(...otherMethod(settings, parent.settings), ...otherWeights(settings, parent.settings, from));
  violations.push(...targetOutOfReach(settings, parent, from));
  // Recovery begins with the state at the end of pruning, so pruning can't have ended before the fork's own beginning.
  const pruned = Math.min(from.step, parent.settings.totalSteps);
  if (settings.totalSteps < pruned || (from.step > pruned && settings.totalSteps !== pruned && settings.totalSteps <= from.step)) {
    violations.push({
      field: 'settings.total_steps',
      code: 'FIELD_OUT_OF_RANGE',
      description:
        `must be ${pruned}, the steps of pruning already done where the fork starts, or above ${from.step}, ` + `is ${settings.totalSteps}`,
    });
  } else if (from.step > settings.totalSteps && endStepOf(settings) <= from.step) {
    const done = from.step - settings.totalSteps;
    violations.push({
      field: 'settings.recover_steps',
      code: 'FIELD_OUT_OF_RANGE',
      description: `must be above ${done}, the steps of recovery already done where the fork starts, is ${settings.recoverSteps}`,
    });
  } else if (endStepOf(settings) <= from.step) {
    violations.push({
      field: 'settings.total_steps',
      code: 'FIELD_OUT_OF_RANGE',
      description:
        `must be above ${from.step}, the steps already done where the fork starts, is ${settings.totalSteps}; ` +
        'or recover_steps must reach beyond',
    });
  }
  if (violations.length > 0) throw invalidRequest(violations);
}

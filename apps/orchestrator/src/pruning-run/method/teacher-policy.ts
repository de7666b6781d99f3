// Which teacher instructs which step, and when snapshots are taken. All functions are pure.
//
// A run takes a snapshot when the expected sparsity first reaches a multiple of the snapshot interval below the target. Where another phase
// follows pruning, the state at the end of pruning is a snapshot, too. Until the target is reached, the teacher is the snapshot
// `teacherGapMarks` marks back, so that teacher and student differ by a fixed gap. After the target, the snapshots instruct in turn: from
// the most pruned one, a weak teacher, to the least pruned one, and at last the intact model.
import { counted } from '#protocol';
import { largestNumber } from './largest-number.js';
import { scheduledSparsity } from './sparsity-schedule.js';
import { endStepOf, lossesAt, needsTeacher, phaseAt, phasesOf, prunesAtOnce } from './phases.js';
import type { RunSettings, StateFact, TeacherChoice, TeacherReason } from '../record/pruning-run.events.js';

interface SparsityMark {
  mark: number; // 1, 2, ... in the order in which snapshots are taken
  threshold: number; // the expected sparsity that the mark stands for
}
export interface TeacherSnapshot extends SparsityMark {
  state: Pick<StateFact, 'step' | 'stateDigest' | 'expectedSparsity'>;
}

type PolicySettings = Pick<RunSettings, 'targetSparsity' | 'snapshotInterval' | 'teacherGapMarks'> & Parameters<typeof lossesAt>[0];

export interface PolicyInput {
  settings: PolicySettings;
  /** The snapshots on the current branch, least pruned first. */
  teachers: readonly TeacherSnapshot[];
  /** The number of steps done when the expected sparsity first reached the target, or null before that. */
  targetReachedStep: number | null;
}

export interface Assignment {
  teacher: TeacherChoice;
  reason: TeacherReason;
  explanation: string;
}

/** The teacher of the step that follows `step` done steps. */
export function teacherAt(input: PolicyInput, step: number): Assignment {
  if (phaseAt(input.settings, step).kind === 'recover') {
    return needsTeacher(lossesAt(input.settings, step))
      ? { teacher: { kind: 'intact' }, reason: 'recovery', explanation: 'the pruned model recovers: the intact model instructs' }
      : { teacher: { kind: 'none' }, reason: 'recovery', explanation: 'the pruned model recovers: it learns from the text alone' };
  }
  switch (input.settings.recipe) {
    case 'lm':
      return { teacher: { kind: 'none' }, reason: 'recipe', explanation: 'recipe lm learns from the text alone' };
    case 'magnitude':
    case 'wanda':
    case 'taylor':
    case 'fisher':
      return { teacher: { kind: 'none' }, reason: 'recipe', explanation: `recipe ${input.settings.recipe} prunes at once, untaught` };
    case 'scan':
      return { teacher: { kind: 'none' }, reason: 'recipe', explanation: 'recipe scan scores layers and trains nothing' };
    case 'distill':
      return { teacher: { kind: 'intact' }, reason: 'recipe', explanation: 'recipe distill has the intact model as its only teacher' };
    case 'nuteprune':
      return input.targetReachedStep === null ? teacherBeforeTarget(input) : teacherAfterTarget(input, input.targetReachedStep, step);
  }
}

function teacherBeforeTarget({ settings, teachers }: PolicyInput): Assignment {
  const gap = settings.teacherGapMarks;
  const taken = teachers.at(-1)?.mark ?? 0;
  const teacher = teachers.findLast((one) => one.mark <= taken - gap + 1);
  if (teacher === undefined) {
    const exist = counted(teachers.length, 'snapshot exists', 'snapshots exist');
    const explanation = `${exist}, fewer than the gap of ${gap}: the intact model instructs`;
    return { teacher: { kind: 'intact' }, reason: teachers.length === 0 ? 'run_start' : 'capacity_gap', explanation };
  }
  const exist =
    taken === teachers.length
      ? `${counted(teachers.length, 'snapshot exists', 'snapshots exist')}: the one ${gap} back`
      : `${teachers.length} of ${taken} snapshots are kept: the last that is at least ${gap} back`;
  const explanation = `${exist} is mark ${teacher.mark}, ${describe(teacher)}`;
  return { teacher: choose(teacher), reason: 'capacity_gap', explanation };
}

function teacherAfterTarget({ settings, teachers }: PolicyInput, reachedStep: number, step: number): Assignment {
  const interval = phaseInterval(settings.totalSteps, reachedStep, teachers.length);
  const remaining = settings.totalSteps - step;
  const phase = Math.min(Math.floor(remaining / interval) - settings.teacherGapMarks, teachers.length - 1);
  const teacher = teachers[phase];
  const when = `${remaining} steps remain, phases of ${interval} steps`;
  if (phase < 0 || teacher === undefined) {
    return { teacher: { kind: 'intact' }, reason: 'post_target_phase', explanation: `${when}: the intact model instructs to the end` };
  }
  return {
    teacher: choose(teacher),
    reason: 'post_target_phase',
    explanation: `${when}: phase ${phase} of ${teachers.length} is mark ${teacher.mark}, ${describe(teacher)}`,
  };
}

function phaseInterval(totalSteps: number, reachedStep: number, teacherCount: number): number {
  return Math.max(1, Math.floor((totalSteps - reachedStep) / (teacherCount + 1)));
}

/** The first number of done steps after `step` at which another teacher instructs, if no snapshot is added; null if none does. */
export function nextTeacherChange(input: PolicyInput, step: number): number | null {
  const { recipe, totalSteps } = input.settings;
  if (recipe !== 'nuteprune' || input.targetReachedStep === null || phaseAt(input.settings, step).kind !== 'prune') return null;
  const current = teacherAt(input, step).teacher;
  if (current.kind === 'intact') return null; // the intact model is the last of the teachers
  const interval = phaseInterval(totalSteps, input.targetReachedStep, input.teachers.length);
  // The teacher stays the same while floor(remaining / interval) does, or while that number is above the last snapshot's.
  for (let remaining = Math.floor((totalSteps - step) / interval) * interval - 1; remaining > 0; remaining -= interval) {
    const candidate = totalSteps - remaining;
    if (!sameTeacher(teacherAt(input, candidate).teacher, current)) return candidate;
  }
  return null;
}

/**
 * The teachers of the steps from `firstStep` to before `endStep`, if no snapshot is added. Each instructs until the next one's first step.
 */
export function stretchesOf(input: PolicyInput, firstStep: number, endStep: number): (Assignment & { firstStep: number })[] {
  const stretches: (Assignment & { firstStep: number })[] = [];
  for (let step: number | null = firstStep; step !== null && step < endStep; step = nextTeacherChange(input, step)) {
    stretches.push({ ...teacherAt(input, step), firstStep: step });
  }
  return stretches;
}

/** The next mark to take a snapshot at, or null where the target comes before it or is reached. */
export function nextMark({ settings, teachers, targetReachedStep }: PolicyInput): SparsityMark | null {
  if (targetReachedStep !== null || prunesAtOnce(settings.recipe)) return null;
  const last = teachers[teachers.length - 1];
  const threshold = thresholdAfter(last?.threshold ?? 0, settings.snapshotInterval);
  return threshold < settings.targetSparsity ? { mark: (last?.mark ?? 0) + 1, threshold } : null;
}

/** A planned run before its first step. A fork has a step, teachers and perhaps a reached target from its parent. */
export interface RunToTrain extends Omit<PolicyInput, 'settings'> {
  current: Pick<StateFact, 'step'> | null;
}
const LAUNCHED: RunToTrain = { current: null, teachers: [], targetReachedStep: null };

/** Tells whether snapshots of the run instruct it. */
export const snapshotsInstruct = ({ recipe }: Pick<RunSettings, 'recipe'>): boolean => recipe === 'nuteprune';

/** The number of snapshots that a run will take on its way to the target, and at the end of pruning where another phase follows. */
export interface SnapshotCount {
  /** The number, if the masks follow the schedule. */
  likely: number;
  /** The largest number for these steps. */
  most: number;
  /** The largest number for any number of steps. */
  inAll: number;
}

/** The largest number of snapshots, as a multiple of the likely one, in nine runs of 20 to 150 steps to targets from 30% to 70%. */
const TEACHER_LAG_FACTOR = 2;

/**
 * Counts the snapshots. A step that reaches several marks, as in a short warm-up, takes one snapshot for all of them. With tracking the
 * masks follow the schedule, but lag behind one that is so steep, and then reach more of the marks one by one. With multipliers they lag
 * behind any, and reach all of the marks one by one.
 */
export function snapshotsTaken(
  settings: PolicySettings & Parameters<typeof scheduledSparsity>[0] & Pick<RunSettings, 'sparsityControl'>,
  { current, ...before }: RunToTrain = LAUNCHED,
): SnapshotCount {
  const [prune, next] = phasesOf(settings);
  const firstStep = current?.step ?? 0;
  if (firstStep >= prune.endStep) return { likely: 0, most: 0, inAll: 0 };
  const marks = marksReached({ ...before, settings }, settings.targetSparsity);
  const atEnd = next === undefined ? 0 : 1;
  const inAll = marks.length + atEnd;
  if (settings.sparsityControl === 'multipliers') return { likely: inAll, most: inAll, inAll };
  const reaches = (step: number, threshold: number): boolean => scheduledSparsity(settings, step) >= threshold;
  const stepOf = (threshold: number): number =>
    reaches(firstStep, threshold) ? firstStep : largestNumber((step) => !reaches(step, threshold), firstStep, prune.endStep - 1) + 1;
  const likely = new Set(marks.map(({ threshold }) => stepOf(threshold))).size + atEnd;
  return { likely, most: Math.min(inAll, TEACHER_LAG_FACTOR * likely), inAll };
}

/** The snapshots that are due at a state of pruning: those of the marks that it reaches, or the one that the next phase begins with. */
export function snapshotsDue(input: PolicyInput, { step, expectedSparsity }: Pick<StateFact, 'step' | 'expectedSparsity'>): SparsityMark[] {
  const marks = marksReached(input, expectedSparsity);
  const { settings, teachers } = input;
  const isLast = step === phasesOf(settings)[0].endStep && step < endStepOf(settings);
  return marks.length === 0 && isLast ? [{ mark: (teachers.at(-1)?.mark ?? 0) + 1, threshold: expectedSparsity }] : marks;
}

/** The marks that a state of this expected sparsity reaches. One step may reach several. */
export function marksReached(input: PolicyInput, expectedSparsity: number): SparsityMark[] {
  const reached: SparsityMark[] = [];
  let next = nextMark(input);
  while (next !== null && next.threshold <= expectedSparsity) {
    reached.push(next);
    next = nextMark({ ...input, teachers: [{ ...next, state: { step: 0, stateDigest: '', expectedSparsity } }] }); // the last one counts
  }
  return reached;
}

/** Rounds multiples to 9 decimals, so that 3 * 0.01 is 0.03 and marks print as a reader expects. */
function thresholdAfter(threshold: number, interval: number): number {
  const multiple = Math.floor(threshold / interval + 1e-6) + 1;
  return Math.round(multiple * interval * 1e9) / 1e9;
}

export function sameTeacher(left: TeacherChoice, right: TeacherChoice): boolean {
  return (
    left.kind === right.kind &&
    (left.kind !== 'snapshot' || right.kind !== 'snapshot' || (left.mark === right.mark && left.stateDigest === right.stateDigest))
  );
}

function choose({ mark, state }: TeacherSnapshot): TeacherChoice {
  return { kind: 'snapshot', mark, stateDigest: state.stateDigest };
}

function describe({ threshold, state }: TeacherSnapshot): string {
  return `${(threshold * 100).toFixed(1)}% sparsity at step ${state.step}`;
}

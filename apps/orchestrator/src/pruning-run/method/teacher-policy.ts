// Which teacher instructs which step, and when snapshots are taken; pure.
//
// A snapshot is taken at every multiple of the snapshot interval that the expected sparsity first reaches below the target.
// The state that pruning ends with is a snapshot too, where another phase goes on from it.
// Before the target is reached the teacher is the snapshot ten back: a fixed gap in capacity. After it, the snapshots
// instruct in phases from the weakest pruned last, so teachers go from weak to strong, ending with the intact model.
import { counted } from '#protocol';
import { endStepOf, lossesAt, needsTeacher, phaseAt, phasesOf, prunesAtOnce } from './phases.js';
import type { RunSettings, StateFact, TeacherChoice, TeacherReason } from '../record/pruning-run.events.js';

interface Mark {
  mark: number; // 1, 2, ... in the order they were taken
  threshold: number; // expected sparsity that it stands for
}
export interface TeacherSnapshot extends Mark {
  state: Pick<StateFact, 'step' | 'stateDigest' | 'expectedSparsity'>;
}

type PolicySettings = Pick<RunSettings, 'targetSparsity' | 'snapshotInterval' | 'teacherGapMarks'> & Parameters<typeof lossesAt>[0];

export interface PolicyInput {
  settings: PolicySettings;
  /** On the current branch, weakest pruned first. */
  teachers: readonly TeacherSnapshot[];
  /** Steps done when the expected sparsity first reached the target. */
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
      return { teacher: { kind: 'none' }, reason: 'recipe', explanation: `recipe ${input.settings.recipe} prunes at once, untaught` };
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

/** The first step count after `step` from which another teacher instructs while no snapshot is added; null: none. */
export function nextTeacherChange(input: PolicyInput, step: number): number | null {
  const { recipe, totalSteps } = input.settings;
  if (recipe !== 'nuteprune' || input.targetReachedStep === null || phaseAt(input.settings, step).kind !== 'prune') return null;
  const current = teacherAt(input, step).teacher;
  if (current.kind === 'intact') return null; // the phases only ever go down
  const interval = phaseInterval(totalSteps, input.targetReachedStep, input.teachers.length);
  // The phase is constant while floor(remaining / interval) is, or is cut to the last snapshot.
  for (let remaining = Math.floor((totalSteps - step) / interval) * interval - 1; remaining > 0; remaining -= interval) {
    const candidate = totalSteps - remaining;
    if (!sameTeacher(teacherAt(input, candidate).teacher, current)) return candidate;
  }
  return null;
}

/** Who instructs steps [firstStep, endStep) while no snapshot is added: each from its first step until the next one's. */
export function stretchesOf(input: PolicyInput, firstStep: number, endStep: number): (Assignment & { firstStep: number })[] {
  const stretches: (Assignment & { firstStep: number })[] = [];
  for (let step: number | null = firstStep; step !== null && step < endStep; step = nextTeacherChange(input, step)) {
    stretches.push({ ...teacherAt(input, step), firstStep: step });
  }
  return stretches;
}

/** The next snapshot to take, or null when the target comes first or is reached. */
export function nextMark({ settings, teachers, targetReachedStep }: PolicyInput): Mark | null {
  if (targetReachedStep !== null || prunesAtOnce(settings.recipe)) return null;
  const last = teachers[teachers.length - 1];
  const threshold = thresholdAfter(last?.threshold ?? 0, settings.snapshotInterval);
  return threshold < settings.targetSparsity ? { mark: (last?.mark ?? 0) + 1, threshold } : null;
}

/** How many snapshots a run takes: on its way to the target, and at the end of pruning where another phase follows. */
export function teachersTaken(settings: PolicySettings): number {
  const atMarks = marksReached({ settings, teachers: [], targetReachedStep: null }, settings.targetSparsity).length;
  return atMarks + (phasesOf(settings).length > 1 ? 1 : 0);
}

/** The snapshots that a state of pruning is due: at its marks, or as the one that the next phase begins with. */
export function snapshotsDue(input: PolicyInput, { step, expectedSparsity }: Pick<StateFact, 'step' | 'expectedSparsity'>): Mark[] {
  const marks = marksReached(input, expectedSparsity);
  const { settings, teachers } = input;
  const isLast = step === phasesOf(settings)[0].endStep && step < endStepOf(settings);
  return marks.length === 0 && isLast ? [{ mark: (teachers.at(-1)?.mark ?? 0) + 1, threshold: expectedSparsity }] : marks;
}

/** Every snapshot that a state of this expected sparsity is due: one step may cross several. */
export function marksReached(input: PolicyInput, expectedSparsity: number): Mark[] {
  const reached: Mark[] = [];
  const teachers = [...input.teachers];
  for (let next = nextMark(input); next !== null && next.threshold <= expectedSparsity; next = nextMark({ ...input, teachers })) {
    reached.push(next);
    teachers.push({ ...next, state: { step: 0, stateDigest: '', expectedSparsity } });
  }
  return reached;
}

/** Multiples are rounded to 9 decimals, so that 3 * 0.01 is 0.03 and a run's marks print as they are meant. */
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

// The engine's next work, in one call: several segments, as far as their teachers are known. Each ends where planSegment says, so the cuts
// of a run don't depend on the calls. A segment of a slow model that takes too long ends earlier.
import type { TeacherChoice } from '../record/pruning-run.events.js';
import { planSegment, type PlanInput, type SegmentPlan, type TeacherStretch } from './segment-plan.js';
import { stepTargets } from '../method/sparsity-schedule.js';
import { phaseAt } from '../method/phases.js';
import { nextMark, stretchesOf, teacherAt, type TeacherSnapshot } from '../method/teacher-policy.js';

/** The most segments that an engine trains ahead of the record. */
const SEGMENTS_AHEAD = 16;

/**
 * The longest time of a segment, and so of the loss by a crash of a slow model. The place where the time runs out is no fact of the run.
 * Like a pause it only adds a cut, and where a run is cut changes no bit of its states.
 */
const SEGMENT_SECONDS = 15;

/** The snapshots that the engine holds, and those that it can read by itself. */
export interface TeachersHeld {
  /** The number of teachers that the engine can hold. */
  teachersKept: number;
  teachersHeld: number;
  holdsTeacher(teacher: TeacherChoice): boolean;
  /** Whether the engine still has the teacher after `others` teachers were used or taken. */
  stillHolds(teacher: TeacherChoice, others: number): boolean;
  /** The engine can read snapshots from files when their turn comes. Otherwise the missing ones are sent before it begins. */
  readsFiles: boolean;
  /** null: the snapshot is in no file yet, or the engine reads no files. */
  fileOf(stateDigest: string): string | null;
}

/** A segment ends with the step that reaches it. */
interface PlannedMark {
  expectedSparsity: number;
  /** The teacher from there on; null: it is not known yet, or the engine has no room for it. */
  teacher: TeacherChoice | null;
}

export interface TrainingPlan extends Pick<SegmentPlan, 'firstStep' | 'endStep' | 'losses' | 'loraLearningRates' | 'scheduledSparsities'> {
  segmentSteps: number;
  segmentSeconds: number;
  /** The call ends with the last of them: a mark may have put them off the beat, so that endStep lies within one more. */
  maxSegments: number;
  /** Until a mark is reached; never empty. */
  stretches: TeacherStretch[];
  marks: PlannedMark[];
  /** The files of all snapshots in the plan that are in any. */
  teacherFiles: { digest: string; file: string }[];
  /** The engine's, as its segments are cut by it. */
  teachersKept: number;
}

export function planTraining(run: PlanInput, engine: TeachersHeld): TrainingPlan {
  const { segmentSteps } = run.settings;
  const teachersKept = readsAll(run, engine) ? Infinity : engine.teachersKept;
  const first = planSegment(run, teachersKept);
  const { firstStep, losses } = first;
  const endStep = Math.max(first.endStep, lastEnd(run, firstStep, teachersKept));
  const plan = {
    firstStep,
    endStep,
    segmentSteps,
    segmentSeconds: SEGMENT_SECONDS,
    maxSegments: SEGMENTS_AHEAD,
    losses,
    marks: marksAhead(run, first.stretches[0]!.teacher, engine),
    stretches: stretchesOf(run, firstStep, endStep),
    ...stepTargets(run.settings, firstStep, endStep),
    teachersKept,
  };
  const digests = new Set(teachersOf(plan).flatMap((one) => (one.kind === 'snapshot' ? [one.stateDigest] : [])));
  const teacherFiles = [...digests].flatMap((digest) => {
    const file = engine.fileOf(digest);
    return file === null ? [] : [{ digest, file }];
  });
  return { ...plan, teacherFiles };
}

/** The engine then need not hold snapshots, so no segment ends for lack of room. */
function readsAll({ teachers }: PlanInput, engine: TeachersHeld): boolean {
  return engine.readsFiles && teachers.every(({ state }) => engine.fileOf(state.stateDigest) !== null);
}

/** After the target: of the last segment that still needs no more snapshots than the engine can hold. */
function lastEnd(run: PlanInput, firstStep: number, teachersKept: number): number {
  const { segmentSteps } = run.settings;
  const furthestStep = Math.min(firstStep + SEGMENTS_AHEAD * segmentSteps, phaseAt(run.settings, firstStep).endStep);
  const tooMany = stretchesOf(run, firstStep, furthestStep)[teachersKept];
  return tooMany === undefined ? furthestStep : firstStep + Math.floor((tooMany.firstStep - firstStep) / segmentSteps) * segmentSteps;
}

/**
 * As far as the teachers are known, and how the engine gets them. A teacher that was sent, or is in no file yet, may not be pushed out on
 * the way by snapshots that are taken or read meanwhile.
 */
function marksAhead(run: PlanInput, teacher: TeacherChoice, engine: TeachersHeld): PlannedMark[] {
  if (run.targetReachedStep !== null || phaseAt(run.settings, run.current?.step ?? 0).kind !== 'prune') return [];
  const marks: PlannedMark[] = [];
  const teachers: TeacherSnapshot[] = [...run.teachers];
  const loaded = new Set<string>();
  const load = (one: TeacherChoice): void => {
    if (one.kind === 'snapshot' && !engine.holdsTeacher(one)) loaded.add(one.stateDigest);
  };
  load(teacher);
  for (let next = nextMark(run); next !== null; next = nextMark({ ...run, teachers })) {
    teachers.push({ ...next, state: { step: 0, stateDigest: '', expectedSparsity: next.threshold } });
    const then = teacherAt({ ...run, teachers }, 0).teacher;
    load(then);
    const isKnown = then.kind !== 'snapshot' || then.stateDigest !== '';
    const fits = engine.readsFiles
      ? then.kind !== 'snapshot' || engine.fileOf(then.stateDigest) !== null || engine.stillHolds(then, 2 * (marks.length + 1))
      : engine.teachersHeld + loaded.size + marks.length + 1 <= engine.teachersKept;
    marks.push({ expectedSparsity: next.threshold, teacher: fits && isKnown ? then : null });
    if (marks.at(-1)!.teacher === null) return marks;
  }
  return [...marks, { expectedSparsity: run.settings.targetSparsity, teacher: null }];
}

/** All whose snapshots the engine must hold, or be able to read. */
export function teachersOf({ stretches, marks }: Pick<TrainingPlan, 'stretches' | 'marks'>): TeacherChoice[] {
  return [...stretches.map(({ teacher }) => teacher), ...marks.flatMap(({ teacher }) => teacher ?? [])];
}

// Plans the engine's next work, which one call orders: several segments, as far as their teachers are known. Each segment ends where
// planSegment says, so a run is cut at the same places for any division into calls. A segment that takes too long on a slow model ends
// earlier.
import type { TeacherChoice } from '../record/pruning-run.events.js';
import { planSegment, type PlanInput, type SegmentPlan, type TeacherStretch } from './segment-plan.js';
import { stepTargets } from '../method/sparsity-schedule.js';
import { phaseAt } from '../method/phases.js';
import { SEGMENT_SECONDS } from '../method/run-time.js';
import { nextMark, stretchesOf, teacherAt, type TeacherSnapshot } from '../method/teacher-policy.js';

/** The most segments that an engine trains ahead of the record. */
const SEGMENTS_AHEAD = 16;

/** The snapshots that the engine holds, and those that it can read by itself. */
export interface TeachersHeld {
  /** The number of teachers that the engine can hold. */
  teachersKept: number;
  teachersHeld: number;
  holdsTeacher(teacher: TeacherChoice): boolean;
  /** Whether the engine still has the teacher after `others` more teachers were used or taken. */
  stillHolds(teacher: TeacherChoice, others: number): boolean;
  /** Whether the engine can read snapshots from files when it needs them. If not, missing snapshots are sent to it before the call. */
  readsFiles: boolean;
  /** Returns the file of a snapshot, or null where it is in no file yet or the engine reads no files. */
  fileOf(stateDigest: string): string | null;
}

/** An expected sparsity at which a snapshot is taken or the target is reached. A segment ends with the step that reaches it. */
interface PlannedMark {
  expectedSparsity: number;
  /**
   * The teacher after the mark: one that is known, or the snapshot of the plan's mark with this index, which is this mark or an earlier
   * one. Null where the engine has no room for it.
   */
  teacher: TeacherChoice | { kind: 'mark'; index: number } | null;
}

export interface TrainingPlan extends Pick<SegmentPlan, 'firstStep' | 'endStep' | 'losses' | 'loraLearningRates' | 'scheduledSparsities'> {
  segmentSteps: number;
  segmentSeconds: number;
  /** The call ends after this number of segments. Marks end segments early, so the call may end before `endStep`. */
  maxSegments: number;
  /** The teachers until a mark is reached. There is at least one. */
  stretches: TeacherStretch[];
  marks: PlannedMark[];
  /** The files of the plan's snapshots, as far as they have files. */
  teacherFiles: { digest: string; file: string }[];
  /** The number of teachers that the engine can hold. The engine cuts its segments by it, as planSegment does. */
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
    segmentSeconds: SEGMENT_SECONDS, // where this time runs out is not recorded: as a pause does, it only adds a cut, which changes no bit
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

/** Tells whether the engine can read every snapshot. It then need not hold any, so no segment ends for lack of room. */
function readsAll({ teachers }: PlanInput, engine: TeachersHeld): boolean {
  return engine.readsFiles && teachers.every(({ state }) => engine.fileOf(state.stateDigest) !== null);
}

/** After the target, the end of the last segment that needs no more snapshots than the engine can hold. */
function lastEnd(run: PlanInput, firstStep: number, teachersKept: number): number {
  const { segmentSteps } = run.settings;
  const furthestStep = Math.min(firstStep + SEGMENTS_AHEAD * segmentSteps, phaseAt(run.settings, firstStep).endStep);
  const tooMany = stretchesOf(run, firstStep, furthestStep)[teachersKept];
  return tooMany === undefined ? furthestStep : firstStep + Math.floor((tooMany.firstStep - firstStep) / segmentSteps) * segmentSteps;
}

/**
 * The next marks, as far as the engine has their teachers, takes them on the way, or can read them. A teacher that was sent to the engine,
 * or is in no file yet, must not be pushed out by snapshots that are taken or read on the way.
 */
function marksAhead(run: PlanInput, teacher: TeacherChoice, engine: TeachersHeld): PlannedMark[] {
  if (run.targetReachedStep !== null || phaseAt(run.settings, run.current?.step ?? 0).kind !== 'prune') return [];
  const marks: PlannedMark[] = [];
  const teachers: TeacherSnapshot[] = [...run.teachers];
  const loaded = new Set<string>();
  const load = (one: TeacherChoice): void => {
    if (one.kind === 'snapshot' && one.stateDigest !== '' && !engine.holdsTeacher(one)) loaded.add(one.stateDigest);
  };
  load(teacher);
  for (let next = nextMark(run); next !== null; next = nextMark({ ...run, teachers })) {
    teachers.push({ ...next, state: { step: 0, stateDigest: '', expectedSparsity: next.threshold } });
    const then = teacherAt({ ...run, teachers }, 0).teacher;
    load(then);
    // At each mark the engine takes one snapshot and uses one teacher, and it lets go of the one that was used longest ago.
    const index = then.kind === 'snapshot' && then.stateDigest === '' ? then.mark - teachers[run.teachers.length]!.mark : null;
    const canBeRead = then.kind !== 'snapshot' || (index === null && engine.fileOf(then.stateDigest) !== null);
    const staysHeld = (): boolean =>
      index === null ? engine.stillHolds(then, 2 * (marks.length + 1)) : 2 * (marks.length - index) < engine.teachersKept;
    const fits = engine.readsFiles ? canBeRead || staysHeld() : engine.teachersHeld + loaded.size + marks.length + 1 <= engine.teachersKept;
    const teacher = index === null ? then : ({ kind: 'mark', index } as const);
    marks.push({ expectedSparsity: next.threshold, teacher: fits ? teacher : null });
    if (!fits) return marks;
  }
  return [...marks, { expectedSparsity: run.settings.targetSparsity, teacher: null }];
}

/** The teachers of the plan that exist. The engine must hold their snapshots or be able to read them. */
export function teachersOf({ stretches, marks }: Pick<TrainingPlan, 'stretches' | 'marks'>): TeacherChoice[] {
  return [
    ...stretches.map(({ teacher }) => teacher),
    ...marks.flatMap(({ teacher }) => (teacher === null || teacher.kind === 'mark' ? [] : [teacher])),
  ];
}

// The marks at places of a run's curves where something happened, and the teacher of each step.

import type { Teacher } from '../../generated/espalier/v1/common_pb.js';

export interface Assignment {
  fromStep: number;
  /** The first step with another teacher. */
  endStep: number;
  /** The mark of the teacher; 0: the intact model; null: the run has no teacher in these steps. */
  mark: number | null;
  why: string;
}

/** A mark at a step, before its place on the axis is known. */
export interface StepMark {
  step: number;
  kind: 'teacher' | 'phase' | 'fork' | 'rewind' | 'restart';
  words: string;
}

interface Happened {
  assignments: readonly Assignment[];
  phases: readonly { kind: string; firstStep: number }[];
  /** The step where the run itself was forked from its parent. */
  forkedAtStep: number | null;
  /** The runs that were forked from this run. */
  forks: readonly { name: string; step: number }[];
  rewinds: readonly { toStep: number }[];
  restarts: readonly { lastStep: number; cause: string }[];
}

export const teacherName = ({ mark }: Pick<Assignment, 'mark'>): string =>
  mark === null ? 'no teacher' : mark === 0 ? 'intact model' : `teacher #${mark}`;

export function stepMarks({ assignments, phases, forkedAtStep, forks, rewinds, restarts }: Happened): StepMark[] {
  return [
    ...assignments.slice(1).map((one): StepMark => ({ step: one.fromStep, kind: 'teacher', words: `${teacherName(one)} from here on` })),
    ...phases.slice(1).map(({ kind, firstStep }): StepMark => ({ step: firstStep, kind: 'phase', words: `${kind} begins` })),
    ...(forkedAtStep === null ? [] : [{ step: forkedAtStep, kind: 'fork', words: 'forked from its parent' } satisfies StepMark]),
    ...forks.map(({ name, step }): StepMark => ({ step, kind: 'fork', words: `forked: ${name}` })),
    ...rewinds.map(({ toStep }): StepMark => ({ step: toStep, kind: 'rewind', words: 'rewound to here' })),
    ...restarts.map(({ lastStep, cause }): StepMark => ({ step: lastStep, kind: 'restart', words: `went on after the ${cause} was lost` })),
  ].sort((one, other) => one.step - other.step);
}

/** A snapshot that can teach, as far as its distance to a step needs it. */
export type Snapshot = Pick<Teacher, 'mark' | 'step' | 'expectedSparsity' | 'abandoned'>;

/**
 * Names the teacher of a step, and its distance from the student: how many points of sparsity lie between them.
 * @param sparsity the expected sparsity at the step; null where it is not known
 */
export function teacherAt(
  { assignments, snapshots }: { assignments: readonly Assignment[]; snapshots: readonly Snapshot[] },
  step: number,
  sparsity: number | null,
): string {
  const one = assignments.findLast(({ fromStep }) => fromStep <= step);
  if (one === undefined) return '';
  const snapshot = snapshots.find(({ mark, abandoned }) => mark === one.mark && !abandoned);
  const own = one.mark === 0 ? 0 : snapshot?.expectedSparsity;
  const of = snapshot === undefined ? '' : ` of step ${snapshot.step}`;
  if (own === undefined || sparsity === null) return teacherName(one) + of;
  return `${teacherName(one)}${of}, ${((sparsity - own) * 100).toFixed(1)} points less sparse`;
}

export function phaseAt(phases: readonly { kind: string; firstStep: number }[], step: number): string {
  return phases.findLast(({ firstStep }) => firstStep <= step)?.kind ?? '';
}

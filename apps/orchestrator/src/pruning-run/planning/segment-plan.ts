// Plans the next segment: its steps up to the next boundary, and the teacher of each step. A run's result does not depend on where the run
// is cut into segments, so a pause may add a cut anywhere.
import type { PruningRunState } from '../aggregate/pruning-run.state.js';
import type { TeacherChoice } from '../record/pruning-run.events.js';
import { stepTargets } from '../method/sparsity-schedule.js';
import { lossesAt, phaseAt, type LossWeights } from '../method/phases.js';
import { nextMark, stretchesOf } from '../method/teacher-policy.js';

export interface TeacherStretch {
  firstStep: number;
  teacher: TeacherChoice;
}

export interface SegmentPlan {
  firstStep: number;
  /** The number of the first step after the segment. */
  endStep: number;
  /** The segment ends early, after the first step that reaches this expected sparsity. Null where no sparsity ends it. */
  stopAtExpectedSparsity: number | null;
  /** The teachers of the segment. There is at least one, the first starts with the segment, and each lasts until the next. */
  stretches: TeacherStretch[];
  losses: LossWeights;
  loraLearningRates: number[]; // one value for each step
  scheduledSparsities: number[]; // one value for each step
}

export type PlanInput = Pick<PruningRunState, 'settings' | 'teachers' | 'targetReachedStep' | 'current'>;

/**
 * Plans up to the next boundary: segment_steps after the first step, the next mark, the target, or the end of the phase.
 * @param teachersKept the number of snapshots that the engine can hold. The segment ends before it needs one more.
 */
export function planSegment(run: PlanInput, teachersKept = Infinity): SegmentPlan {
  const { settings } = run;
  const firstStep = run.current?.step ?? 0;
  const phase = phaseAt(settings, firstStep);
  const furthestStep = Math.min(firstStep + settings.segmentSteps, phase.endStep);
  const all = stretchesOf(run, firstStep, furthestStep);
  // After the target, each change of teacher brings a snapshot that the segment did not use before, or the intact model.
  const stretches = all.slice(0, Math.max(1, teachersKept));
  const endStep = all[stretches.length]?.firstStep ?? furthestStep;
  return {
    firstStep,
    endStep,
    stopAtExpectedSparsity:
      run.targetReachedStep === null && phase.kind === 'prune' ? (nextMark(run)?.threshold ?? settings.targetSparsity) : null,
    stretches,
    losses: lossesAt(settings, firstStep),
    ...stepTargets(settings, firstStep, endStep),
  };
}

// The next segment: steps up to the next boundary, and who instructs which of them. Where a run is cut into
// segments does not change its result; that is why a pause may add a cut anywhere.
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
  /** Number of the first step that is not in the segment. */
  endStep: number;
  /** The segment ends early after the first step that reaches this expected sparsity. */
  stopAtExpectedSparsity: number | null;
  /** Never empty; the first starts with the segment, each lasts until the next. */
  stretches: TeacherStretch[];
  losses: LossWeights;
  loraLearningRates: number[]; // one a step
  scheduledSparsities: number[]; // one a step
}

export type PlanInput = Pick<PruningRunState, 'settings' | 'teachers' | 'targetReachedStep' | 'current'>;

/**
 * The next boundary: segment_steps from its first step on, the next mark, the target, or the end of the phase.
 * @param teachersKept the number of snapshots that the engine can hold: the segment ends before one more is needed
 */
export function planSegment(run: PlanInput, teachersKept = Infinity): SegmentPlan {
  const { settings } = run;
  const firstStep = run.current?.step ?? 0;
  const phase = phaseAt(settings, firstStep);
  const furthestStep = Math.min(firstStep + settings.segmentSteps, phase.endStep);
  const all = stretchesOf(run, firstStep, furthestStep);
  // After the target every change brings a snapshot that was not there, or the intact model.
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

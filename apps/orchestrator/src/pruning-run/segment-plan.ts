// What the engine is asked to do next: a stretch of steps with one teacher, up to the next boundary. Where a run is cut
// into segments does not change its result; that is why a pause may add a cut anywhere.
import type { PruningRunState } from './pruning-run.state.js';
import type { RunSettings, TeacherChoice } from './pruning-run.events.js';
import { loraLearningRate, scheduledSparsity } from './sparsity-schedule.js';
import { nextMark, nextTeacherChange, teacherAt } from './teacher-policy.js';

export interface SegmentPlan {
  firstStep: number;
  /** Number of the first step that is not in the segment. */
  endStep: number;
  /** The segment ends early after the first step that reaches this expected sparsity. */
  stopAtExpectedSparsity: number | null;
  teacher: TeacherChoice;
  losses: { layerWeight: number; klWeight: number; lmWeight: number; temperature: number };
  loraLearningRates: number[]; // one a step
  scheduledSparsities: number[]; // one a step
}

type PlanInput = Pick<PruningRunState, 'settings' | 'teachers' | 'targetReachedStep' | 'current'>;

/** The next boundary: a multiple of segment_steps, the next mark, the target, another teacher, or the end. */
export function planSegment(run: PlanInput): SegmentPlan {
  const { settings } = run;
  const firstStep = run.current?.step ?? 0;
  const endStep = Math.min(
    (Math.floor(firstStep / settings.segmentSteps) + 1) * settings.segmentSteps,
    nextTeacherChange(run, firstStep) ?? Infinity,
    settings.totalSteps,
  );
  const steps = Array.from({ length: endStep - firstStep }, (_, index) => firstStep + index);
  return {
    firstStep, endStep,
    stopAtExpectedSparsity: run.targetReachedStep === null ? (nextMark(run)?.threshold ?? settings.targetSparsity) : null,
    teacher: teacherAt(run, firstStep).teacher,
    losses: lossesOf(settings),
    loraLearningRates: steps.map((step) => loraLearningRate(settings, step)),
    scheduledSparsities: steps.map((step) => scheduledSparsity(settings, step)),
  };
}

function lossesOf(settings: RunSettings): SegmentPlan['losses'] {
  const { temperature } = settings;
  return settings.recipe === 'lm'
    ? { layerWeight: 0, klWeight: 0, lmWeight: 1, temperature }
    : { layerWeight: settings.layerLossWeight, klWeight: settings.klLossWeight, lmWeight: 0, temperature };
}

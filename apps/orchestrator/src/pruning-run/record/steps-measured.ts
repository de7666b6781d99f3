// The metrics of a run's steps, which are stored in a stream beside its events.

/**
 * The metrics of the steps of one segment. The stream is `runMetrics-<runId>`, and a batch is appended before the segment's MasksUpdated,
 * which names it. A batch that no MasksUpdated names belongs to an attempt that was given up, and its steps were trained again.
 */
export interface StepsMeasured {
  v: number;
  at: string;
  attempt: number;
  branch: number; // the number of rewinds before it; a rewind abandons the steps of earlier branches from its step on
  masks?: SegmentMasks | undefined;
  steps: StepMeasurement[];
}
/** Sets of gates, written as text (libs/audit gate-set.ts). */
export interface SegmentMasks {
  /** The gates that were closed in the state before the segment. Absent where the record tells them already. */
  closedBefore?: string | undefined;
  /** The gates that the segment closed or opened. */
  changed: string;
}

/**
 * The figures of a step, in the order in which views store them and exports list them. Each has the name that it has in the engine's
 * StepReport, except the teacher's mark, which the server knows.
 */
export const STEP_FIGURES = {
  step: 'count', // the number of this step, from 0
  loss: 'finite',
  layerLoss: 'finite',
  klLoss: 'finite',
  lmLoss: 'finite',
  lagrangian: 'finite',
  scheduledSparsity: 'number',
  expectedSparsity: 'number',
  gradientNorm: 'finite',
  lambda1: 'number',
  lambda2: 'number',
  seconds: 'number',
  skipped: 'flag',
  openHeads: 'count',
  openUnits: 'count',
  openHidden: 'count',
  teacherMark: 'mark',
} as const;

interface FigureTypes {
  count: number;
  number: number;
  finite: number | null; // null: the recipe has no such loss, or it was not finite, since JSON has no NaN
  flag: boolean;
  mark: number | null; // null: the teacher was the intact model, or there was none
}
export type StepFigure = keyof typeof STEP_FIGURES;
export const STEP_FIGURE_NAMES = Object.keys(STEP_FIGURES) as StepFigure[];
export type StepMeasurement = { [Name in StepFigure]: FigureTypes[(typeof STEP_FIGURES)[Name]] };

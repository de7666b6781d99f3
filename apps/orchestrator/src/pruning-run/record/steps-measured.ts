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
  masks?: SegmentMasks | undefined; // absent in batches of earlier releases
  steps: StepMeasurement[];
}
/** Sets of gates, written as text (libs/audit gate-set.ts). */
export interface SegmentMasks {
  /** The gates that were closed in the state before the segment. Absent where the record tells them already. */
  closedBefore?: string | undefined;
  /** The gates that the segment closed or opened. */
  changed: string;
}
export interface StepMeasurement {
  step: number; // the number of this step, from 0
  loss: number | null; // null: the loss was not finite, and the step was skipped
  layerLoss: number | null;
  klLoss: number | null;
  lmLoss: number | null;
  lagrangian: number | null;
  scheduledSparsity: number;
  expectedSparsity: number;
  gradientNorm: number | null;
  lambda1: number;
  lambda2: number;
  seconds: number;
  skipped: boolean;
  openHeads: number;
  openUnits: number;
  openHidden: number;
  teacherMark: number | null; // null: the teacher was the intact model, or there was none
}

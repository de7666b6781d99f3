// The steps of a run as they are stored beside its events.

/**
 * The per-step metrics of one segment. Stream: `runMetrics-<runId>`, appended before the segment's MasksUpdated names it.
 * A batch that no MasksUpdated names belongs to an attempt that was given up: the steps were trained again.
 */
export interface StepsMeasured {
  v: number;
  at: string;
  attempt: number;
  branch: number; // number of rewinds before: steps of earlier branches are abandoned from the rewind's step on
  masks?: SegmentMasks | undefined; // not in batches of earlier releases
  steps: StepMeasurement[];
}
/** Sets of gates as text (libs/audit gate-set.ts). */
export interface SegmentMasks {
  /** Closed in the state that the segment began with; only where the record does not say it already. */
  closedBefore?: string | undefined;
  /** Those that are closed at the end and were open at the beginning, or the other way round. */
  changed: string;
}
export interface StepMeasurement {
  step: number; // number of this step, from 0
  loss: number | null; // null: not finite (the step was skipped)
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
  teacherMark: number | null; // null: intact or none
}

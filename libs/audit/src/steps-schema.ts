// The schema of the steps that are stored beside a run's events, and the types that follow from it.
import { z } from 'zod';
import { ofEachLoss } from '#comparison';
import { count, maybe, text } from './event-schemas.js';

/**
 * The figures of a step, in the order in which views store them and exports list them. Each has the name that it has in the engine's
 * StepReport, except the teacher's mark, which the server knows.
 */
export const STEP_FIGURES = {
  step: 'count', // the number of this step, from 0
  loss: 'finite',
  ...ofEachLoss(() => 'finite' as const),
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

const kinds = {
  count,
  number: z.number(),
  finite: maybe, // null: the recipe has no such loss, or it was not finite, since JSON has no NaN
  flag: z.boolean(),
  mark: count.nullable(), // null: the teacher was the intact model, or there was none
};
export type StepFigure = keyof typeof STEP_FIGURES;
export const STEP_FIGURE_NAMES = Object.keys(STEP_FIGURES) as StepFigure[];
const step = z.strictObject(
  Object.fromEntries(STEP_FIGURE_NAMES.map((name) => [name, kinds[STEP_FIGURES[name]]])) as {
    [Name in StepFigure]: (typeof kinds)[(typeof STEP_FIGURES)[Name]];
  },
);
export type StepMeasurement = z.infer<typeof step>;

/** Sets of gates, written as text (gate-set.ts). */
const masks = z.strictObject({
  closedBefore: text.optional(), // the gates that were closed in the state before the segment; absent where the record tells them already
  changed: text, // the gates that the segment closed or opened
});
export type SegmentMasks = z.infer<typeof masks>;

export const STEPS_MEASURED_VERSION = 1;

/**
 * The metrics of the steps of one segment. The stream is `runMetrics-<runId>`, and a batch is appended before the segment's MasksUpdated,
 * which names it. A batch that no MasksUpdated names belongs to an attempt that was given up, and its steps were trained again.
 */
export const stepsMeasuredSchema = z.strictObject({
  v: z.literal(STEPS_MEASURED_VERSION),
  at: z.iso.datetime({ precision: 3 }),
  attempt: count,
  branch: count, // the number of rewinds before it; a rewind abandons the steps of earlier branches from its step on
  masks,
  steps: z.array(step),
});
export type StepsMeasured = z.infer<typeof stepsMeasuredSchema>;

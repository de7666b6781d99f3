// The schema of the steps that are stored beside a run's events.
import { z } from 'zod';
import { count, maybe, NEWEST_VERSION, text } from './event-schemas.js';

export const stepsMeasuredSchema = z.strictObject({
  v: z.literal(NEWEST_VERSION),
  at: z.iso.datetime({ precision: 3 }),
  attempt: count,
  branch: count,
  masks: z.strictObject({ closedBefore: text.optional(), changed: text }).optional(),
  steps: z.array(
    z.strictObject({
      step: count,
      loss: maybe,
      layerLoss: maybe,
      klLoss: maybe,
      lmLoss: maybe,
      lagrangian: maybe,
      scheduledSparsity: z.number(),
      expectedSparsity: z.number(),
      gradientNorm: maybe,
      lambda1: z.number(),
      lambda2: z.number(),
      seconds: z.number(),
      skipped: z.boolean(),
      openHeads: count,
      openUnits: count,
      openHidden: count,
      teacherMark: count.nullable(),
    }),
  ),
});

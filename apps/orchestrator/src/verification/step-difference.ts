// Finds the first step at which a repeated segment measured something else than was recorded.
import type { engineV1 } from '#protocol';
import type { StepMeasurement } from '../pruning-run/record/steps-measured.js';

export interface StepDifference {
  step: number;
  quantity: string;
  recorded: number;
  computed: number;
}

/** All quantities but the time that a step took. */
const QUANTITIES = [
  'loss',
  'layerLoss',
  'klLoss',
  'lmLoss',
  'gradientNorm',
  'lagrangian',
  'scheduledSparsity',
  'expectedSparsity',
  'lambda1',
  'lambda2',
] as const;
const COUNTS = ['openHeads', 'openUnits', 'openHidden'] as const;

export function firstDifference(
  recorded: readonly StepMeasurement[],
  computed: readonly engineV1.StepReport[],
  tolerance = 0,
): StepDifference | null {
  const byStep = new Map(computed.map((report) => [Number(report.step), report]));
  for (const measured of recorded) {
    const report = byStep.get(measured.step);
    if (report === undefined) return { step: measured.step, quantity: 'step', recorded: measured.step, computed: NaN };
    for (const quantity of QUANTITIES) {
      const difference = compare(measured[quantity], report[quantity], tolerance);
      if (difference !== null) return { step: measured.step, quantity, ...difference };
    }
    if (tolerance > 0) continue; // the last bit may decide which gates a sample opens
    for (const quantity of COUNTS) {
      const difference = compare(measured[quantity], Number(report[quantity]), 0);
      if (difference !== null) return { step: measured.step, quantity, ...difference };
    }
    if (measured.skipped !== report.skipped)
      return { step: measured.step, quantity: 'skipped', recorded: Number(measured.skipped), computed: Number(report.skipped) };
  }
  return null;
}

/** Compares two values. For a loss without a part in the recipe, and for one that is not finite, the record holds null. */
function compare(recorded: number | null, computed: number | undefined, tolerance: number): { recorded: number; computed: number } | null {
  const left = recorded ?? NaN;
  const right = computed === undefined || !Number.isFinite(computed) ? NaN : computed;
  if (Object.is(left, right) || left === right) return null;
  const relative = Math.abs(left - right) / Math.max(Math.abs(left), Math.abs(right));
  return relative <= tolerance ? null : { recorded: left, computed: right };
}

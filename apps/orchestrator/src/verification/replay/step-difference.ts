// Finds the first step at which a repeated segment measured something else than was recorded.
import type { engineV1 } from '#protocol';
import { STEP_FIGURE_NAMES, STEP_FIGURES, type StepMeasurement } from '../../pruning-run/record/steps-measured.js';

export interface StepDifference {
  step: number;
  quantity: string;
  recorded: number;
  computed: number;
}

/** The engine's figures but the time that a step took. */
const COMPARED = STEP_FIGURE_NAMES.filter((name) => name !== 'step' && name !== 'seconds' && name !== 'teacherMark');

export function firstDifference(
  recorded: readonly StepMeasurement[],
  computed: readonly engineV1.StepReport[],
  tolerance = 0,
): StepDifference | null {
  const byStep = new Map(computed.map((report) => [Number(report.step), report]));
  for (const measured of recorded) {
    const report = byStep.get(measured.step);
    if (report === undefined) return { step: measured.step, quantity: 'step', recorded: measured.step, computed: NaN };
    for (const quantity of COMPARED) {
      const isCount = STEP_FIGURES[quantity] === 'count';
      if (isCount && tolerance > 0) continue; // the last bit may decide which gates a sample opens
      const difference = compare(measured[quantity], report[quantity], tolerance);
      if (difference !== null) return { step: measured.step, quantity, ...difference };
    }
  }
  return null;
}

type Figure = number | bigint | boolean | null | undefined;

/** Compares two values. For a loss without a part in the recipe, and for one that is not finite, the record holds null. */
function compare(recorded: Figure, computed: Figure, tolerance: number): { recorded: number; computed: number } | null {
  const left = finite(recorded);
  const right = finite(computed);
  if (Object.is(left, right) || left === right) return null;
  const relative = Math.abs(left - right) / Math.max(Math.abs(left), Math.abs(right));
  return relative <= tolerance ? null : { recorded: left, computed: right };
}

function finite(figure: Figure): number {
  const value = Number(figure ?? NaN);
  return Number.isFinite(value) ? value : NaN;
}

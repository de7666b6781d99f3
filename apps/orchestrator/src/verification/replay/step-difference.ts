// Finds the first step at which a repeated segment measured something else than was recorded.
import type { engineV1 } from '#protocol';
import type { LayerScan } from '../../pruning-run/record/pruning-run.events.js';
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

/** The first score of a layer that differs. A scan scores a layer in each step, so a layer's number is that of its step. */
export function firstScanDifference(recorded: readonly LayerScan[], computed: readonly LayerScan[], tolerance = 0): StepDifference | null {
  const byLayer = new Map(computed.map(({ layer, forms }) => [layer, forms]));
  for (const { layer: step, forms } of recorded) {
    const others = byLayer.get(step) ?? [];
    if (others.length !== forms.length) return { step, quantity: 'forms', recorded: forms.length, computed: others.length };
    for (const [at, form] of forms.entries()) {
      const other = others[at]!;
      const name = `${form.attention ? 'attention' : 'mlp'}_${form.kept}`;
      for (const score of ['kept', 'kl', 'loss'] as const) {
        const difference = compare(form[score], other[score], score === 'kept' ? 0 : tolerance);
        if (difference !== null) return { step, quantity: `${score} of ${name}`, ...difference };
      }
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

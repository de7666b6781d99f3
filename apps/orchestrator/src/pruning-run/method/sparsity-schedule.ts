// What each step aims at, as pure functions of the settings and the step's number.
import type { RunSettings } from '../record/pruning-run.events.js';

type Schedule = Pick<RunSettings, 'targetSparsity' | 'warmupSteps' | 'schedule'>;

/** Sparsity that step `step` (from 0) is pulled towards: from 0 to the target over the warm-up, then the target. */
export function scheduledSparsity({ targetSparsity, warmupSteps, schedule }: Schedule, step: number): number {
  if (step >= warmupSteps) return targetSparsity;
  const share = step / warmupSteps;
  switch (schedule) {
    case 'linear':
      return targetSparsity * share;
    case 'cubic':
      return targetSparsity * (1 - (1 - share) ** 3);
  }
}

/** LoRA's learning rate at step `step`: linear from its full value at step 0 to 0 after the last step. */
export function loraLearningRate(settings: Pick<RunSettings, 'loraLearningRate' | 'totalSteps'>, step: number): number {
  return (settings.loraLearningRate * (settings.totalSteps - step)) / settings.totalSteps;
}

/** What the steps [firstStep, endStep) aim at, one value a step. */
export function stepTargets(
  settings: Parameters<typeof loraLearningRate>[0] & Schedule,
  firstStep: number,
  endStep: number,
): { loraLearningRates: number[]; scheduledSparsities: number[] } {
  const steps = Array.from({ length: endStep - firstStep }, (_, index) => firstStep + index);
  return {
    loraLearningRates: steps.map((step) => loraLearningRate(settings, step)),
    scheduledSparsities: steps.map((step) => scheduledSparsity(settings, step)),
  };
}

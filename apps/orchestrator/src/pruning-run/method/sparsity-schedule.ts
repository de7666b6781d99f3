// The targets of each step, as pure functions of the settings and the step's number.
import { phaseAt } from './phases.js';
import type { RunSettings } from '../record/pruning-run.events.js';

type Schedule = Pick<RunSettings, 'targetSparsity' | 'warmupSteps' | 'schedule'>;

/** The scheduled sparsity of step `step`, counted from 0. It rises from 0 to the target over the warm-up, then stays at the target. */
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

type RateSettings = Pick<
  RunSettings,
  'loraLearningRate' | 'totalSteps' | 'recoverSteps' | 'recoverLearningRate' | 'recoverWarmupSteps' | 'recoverSchedule'
>;

/**
 * LoRA's learning rate at step `step`. While pruning it falls in a straight line from its full value at step 0 to 0 after the last step.
 */
export function loraLearningRate(settings: RateSettings, step: number): number {
  const { kind, firstStep } = phaseAt(settings, step);
  if (kind === 'recover') return recoveryLearningRate(settings, step - firstStep);
  return (settings.loraLearningRate * (settings.totalSteps - step)) / settings.totalSteps;
}

/** The rate of recovery rises to its full value over the warm-up, then falls to 0 after the last step. */
function recoveryLearningRate(
  { recoverLearningRate, recoverSteps, recoverWarmupSteps, recoverSchedule }: RateSettings,
  index: number,
): number {
  if (index < recoverWarmupSteps) return (recoverLearningRate * (index + 1)) / recoverWarmupSteps;
  const done = (index - recoverWarmupSteps) / (recoverSteps - recoverWarmupSteps);
  return recoverLearningRate * (recoverSchedule === 'linear' ? 1 - done : (1 + Math.cos(Math.PI * done)) / 2);
}

/** The targets of the steps from `firstStep` to before `endStep`, one value for each step. */
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

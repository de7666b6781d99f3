// The proposals and estimates of a plan, in the words of the public protocol.
import { settingOfName, settingsMessageOfRun, type v1 } from '#protocol';
import { budgetMessage } from '../views/budget-message.js';
import { PEAK_SHARE, secondsOnCard } from '../pruning-run/planning/card-estimate.js';
import type { NamedCard } from '../pruning-run/planning/cards.js';
import type { Budget, RunSettings } from '../pruning-run/record/pruning-run.events.js';
import { shareGoneAt, sizesAt } from '../pruning-run/method/budget.js';
import { shareOfDefaults, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import type { ResultSize } from '../pruning-run/planning/result-size.js';
import { openAt } from '../pruning-run/planning/target-sparsity.js';
import type { RunPlan } from '../run-inputs/run-plan.js';

export function memoryMessage({ memory, change }: Pick<RunPlan, 'memory' | 'change'>): v1.MemoryPlan {
  if (change === null) return { ...memory, change: undefined };
  const { batchSize, microShards, sequenceLength, checkpointActivations, streamWeights } = change.settings;
  const { recoverWeights } = settingsMessageOfRun(change.settings);
  const { totalBytes } = change;
  return {
    ...memory,
    change: { batchSize, microShards, sequenceLength, checkpointActivations, streamWeights, recoverWeights, totalBytes },
  };
}

/**
 * Returns the sparsity that follows from a budget, and the resulting size, under the assumption that gates of all kinds close with the same
 * probability. A plan with a target in seconds has no such estimate, since its run prefers the gates that save seconds: on a device where a
 * narrower model gains little, the estimate was ten times too small.
 */
export function budgetPlan(
  { model, shape, settings }: Pick<RunPlan, 'model' | 'shape' | 'settings'>,
  budget: Budget,
  asked: RequestedSettings,
): { message: v1.Budget; result: ResultSize | undefined } {
  if (budget.setting === 'targetSpeedup') return { message: budgetMessage(budget, settings, model), result: undefined };
  const sizes = sizesAt(shape, openAt(settings.targetSparsity, shareGoneAt(budget, model, settings)), settings);
  const { parameters, multiplyAddShare: multiplicationShare, bytes, prunableSparsity } = sizes;
  const follows = shareOfDefaults(settings, budget, asked);
  return {
    message: {
      ...budgetMessage(budget, settings, model),
      prunableSparsity,
      prunableShare: follows?.share,
      prunableShareDecides: (follows?.settings ?? []).map((name) => settingOfName(name).field),
    },
    result: { parameterCount: Math.round(parameters), multiplicationShare, bytes: Math.round(bytes), estimated: true },
  };
}

/** The estimate for a card. It has no durations where the steps are still to be chosen. */
export function cardMessage(
  { name, figures }: NamedCard,
  { model, settings, change, following }: RunPlan,
  firstStep: number,
): v1.CardEstimate {
  const seconds = (planned: RunSettings | undefined): number | undefined =>
    planned === undefined || following !== undefined ? undefined : secondsOnCard(model, planned, figures, firstStep);
  return {
    name,
    peakFlops: figures.flops[settings.computeDtype],
    peakShare: PEAK_SHARE,
    seconds: seconds(settings),
    changeSeconds: seconds(change?.settings),
  };
}

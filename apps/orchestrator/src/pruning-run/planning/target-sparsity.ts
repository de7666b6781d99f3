// Tells before a run whether it can meet its target. This file means the expected sparsity, which the hard sparsity follows. The rule that
// decides after a run whether it met its target is in libs/comparison. All functions are pure.
import { isOffTarget, TARGET_TOLERANCE } from '#comparison';
import type { RunSettings } from '../record/pruning-run.events.js';
import { LOG_ALPHA_MAX, LOG_ALPHA_MIN, OPEN_OFFSET, openProbability } from '../method/gates.js';
import { prunesAtOnce } from '../method/phases.js';
import { scheduledSparsity } from '../method/sparsity-schedule.js';

/** The sparsity of a model as a function of the probability with which every gate is open. */
export type SparsityAt = (open: number) => number;

/** A parameter stays if its head or unit stays and its hidden unit stays. */
const PRUNABLE: SparsityAt = (open) => 1 - open ** 2;

/** The probability at which `sparsityAt` gives this sparsity. The sparsity falls as the probability rises. */
export function openAt(sparsity: number, sparsityAt: SparsityAt): number {
  if (sparsityAt === PRUNABLE) return Math.sqrt(1 - Math.min(Math.max(sparsity, 0), 1 - 1e-9));
  let [low, high] = [0, 1];
  for (let halving = 0; halving < 60; halving++) {
    const middle = (low + high) / 2;
    if (sparsityAt(middle) > sparsity) low = middle;
    else high = middle;
  }
  return high;
}

function logAlphaAt(sparsity: number, sparsityAt: SparsityAt): number {
  const open = openAt(sparsity, sparsityAt);
  return Math.min(Math.max(Math.log(open / (1 - open + 1e-12)) - OPEN_OFFSET, LOG_ALPHA_MIN), LOG_ALPHA_MAX);
}

/** The largest factor by which tracking lengthens moves, as in the engine (tracking.h). */
const TRACKING_SPEED_UP = Math.exp(2);

/**
 * The steps of a fresh run in which multipliers that learn at the usual rates, or slower, hardly move the masks: they start at 0, and the
 * loss holds the masks until they have grown. In 12 trials at rates from 0.02 to 5 the masks came less far than by this number of steps
 * fewer at the full rate.
 */
const STEPS_WITHOUT_MULTIPLIERS = 8;
const USUAL_LAMBDA_LEARNING_RATE = 1;

function stepsOfMultipliers(lambdaLearningRate: number, steps: number, fromSparsity: number): number {
  const areFresh = fromSparsity === 0 && lambdaLearningRate <= USUAL_LAMBDA_LEARNING_RATE;
  return areFresh ? Math.max(0, steps - STEPS_WITHOUT_MULTIPLIERS) : steps;
}

/**
 * The range of expected sparsities that a number of steps can reach. In each step Adam moves a log-alpha by about the learning rate at
 * most, and tracking by a multiple of it.
 */
export function reachableSparsity(
  {
    maskLearningRate,
    sparsityControl,
    lambdaLearningRate,
  }: Pick<TargetSettings, 'maskLearningRate' | 'sparsityControl' | 'lambdaLearningRate'>,
  steps: number,
  fromSparsity = 0,
  sparsityAt = PRUNABLE,
): { least: number; most: number } {
  const start = logAlphaAt(fromSparsity, sparsityAt);
  const fullSteps =
    sparsityControl === 'tracking' ? steps * TRACKING_SPEED_UP : stepsOfMultipliers(lambdaLearningRate, steps, fromSparsity);
  const moved = maskLearningRate * fullSteps;
  const at = (logAlpha: number): number => sparsityAt(openProbability(logAlpha));
  return { least: at(Math.min(start + moved, LOG_ALPHA_MAX)), most: at(Math.max(start - moved, LOG_ALPHA_MIN)) };
}

export interface SettingsWarning {
  code:
    | 'TARGET_OUT_OF_REACH'
    | 'DISK_TOO_SMALL'
    | 'NOTHING_TO_STREAM'
    | 'DEVICES_IDLE'
    | 'HARDLY_QUICKER'
    | 'BETTER_MEASURED'
    | 'NOT_MEASURED';
  /** The field's name in the request. */
  field: string;
  message: string;
}

type TargetSettings = Pick<
  RunSettings,
  'recipe' | 'targetSparsity' | 'totalSteps' | 'warmupSteps' | 'schedule' | 'maskLearningRate' | 'sparsityControl' | 'lambdaLearningRate'
>;

/**
 * Warns of the causes, known before a run starts, that keep it from its target. Only certain causes are listed, so a run without a warning
 * may still miss its target.
 * @param from the state that the run starts from: for a fork, what its parent reached
 */
export function targetWarnings(
  settings: TargetSettings,
  from: { step: number; expectedSparsity: number } = { step: 0, expectedSparsity: 0 },
  sparsityAt = PRUNABLE,
): SettingsWarning[] {
  if (prunesAtOnce(settings.recipe)) return []; // a baseline's masks do not learn
  const { targetSparsity, totalSteps, warmupSteps, maskLearningRate } = settings;
  const steps = Math.max(0, totalSteps - from.step); // none for a fork within recovery: its masks are frozen
  const scheduled = scheduledSparsity(settings, totalSteps - 1);
  const warnings: SettingsWarning[] = [];
  const warn = (field: string, message: string): void =>
    void warnings.push({ code: 'TARGET_OUT_OF_REACH', field: `settings.${field}`, message });
  if (isOffTarget(scheduled, targetSparsity)) {
    warn(
      'warmup_steps',
      `the last step is scheduled to ${percent(scheduled)}, not to the target of ${percent(targetSparsity)}: ` +
        `fewer warmup_steps (${warmupSteps} of ${totalSteps} now) leave steps at the target`,
    );
  }
  const { least, most } = reachableSparsity(settings, steps, from.expectedSparsity, sparsityAt);
  if (most < targetSparsity - TARGET_TOLERANCE || least > targetSparsity + TARGET_TOLERANCE) {
    const limit = most < targetSparsity ? `at most ${percent(most)}` : `at least ${percent(least)}`;
    if (steps === 0) {
      warn(
        'total_steps',
        `no step of pruning is left, so the run keeps the ${percent(from.expectedSparsity)} that its parent reached, and the target is ` +
          `${percent(targetSparsity)}: a fork from a teacher, with more total_steps, prunes on`,
      );
      return warnings;
    }
    warn(
      'mask_learning_rate',
      `in ${steps} steps at mask_learning_rate ${maskLearningRate} the masks can reach ${limit}, ` +
        `the target is ${percent(targetSparsity)}: ` +
        'more total_steps or a higher mask_learning_rate get there',
    );
  }
  return warnings;
}

const percent = (ratio: number): string => `${(ratio * 100).toFixed(1)}%`;

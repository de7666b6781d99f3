// Whether a run can meet its target; pure. This file speaks of the expected sparsity, to which the hard masks come. libs/comparison has the
// rule by which a run has met its target.
import { isOffTarget, TARGET_TOLERANCE } from '#comparison';
import type { RunSettings } from '../record/pruning-run.events.js';
import { prunesAtOnce } from '../method/phases.js';
import { scheduledSparsity } from '../method/sparsity-schedule.js';

/** As in the engine (hard_concrete.h): where log-alphas are kept, and how they give the probability of a unit to stay open. */
const LOG_ALPHA_MAX = Math.log(100);
const LOG_ALPHA_MIN = Math.log(0.01);
const OPEN_OFFSET = (2 / 3) * Math.log(11);
const openProbability = (logAlpha: number): number => 1 / (1 + Math.exp(-logAlpha - OPEN_OFFSET));

/** A parameter stays if its head or unit stays and its hidden unit stays. With equal log-alphas that is the square of the probability. */
const sparsityAt = (logAlpha: number): number => 1 - openProbability(logAlpha) ** 2;

function logAlphaAt(sparsity: number): number {
  const open = Math.sqrt(1 - Math.min(Math.max(sparsity, 0), 1 - 1e-9));
  return Math.min(Math.max(Math.log(open / (1 - open + 1e-12)) - OPEN_OFFSET, LOG_ALPHA_MIN), LOG_ALPHA_MAX);
}

/** As in the engine (tracking.h): the largest factor by which tracking lengthens moves. */
const TRACKING_SPEED_UP = Math.exp(2);

/** How far the expected sparsity can get in a number of steps: Adam moves a log-alpha by about the learning rate a step at most. */
export function reachableSparsity(
  { maskLearningRate, sparsityControl }: Pick<RunSettings, 'maskLearningRate' | 'sparsityControl'>,
  steps: number,
  fromSparsity = 0,
): { least: number; most: number } {
  const start = logAlphaAt(fromSparsity);
  const moved = maskLearningRate * steps * (sparsityControl === 'tracking' ? TRACKING_SPEED_UP : 1);
  return { least: sparsityAt(Math.min(start + moved, LOG_ALPHA_MAX)), most: sparsityAt(Math.max(start - moved, LOG_ALPHA_MIN)) };
}

export interface SettingsWarning {
  code: 'TARGET_OUT_OF_REACH' | 'DISK_TOO_SMALL' | 'NOTHING_TO_STREAM' | 'HARDLY_QUICKER';
  /** As in the request. */
  field: string;
  message: string;
}

type TargetSettings = Pick<
  RunSettings,
  'recipe' | 'targetSparsity' | 'totalSteps' | 'warmupSteps' | 'schedule' | 'maskLearningRate' | 'sparsityControl'
>;

/**
 * The causes that keep a run from its target, known before it starts. Only sure causes are listed: a run without a warning may
 * still miss.
 * @param from where it starts: a fork begins with what its parent reached
 */
export function targetWarnings(
  settings: TargetSettings,
  from: { step: number; expectedSparsity: number } = { step: 0, expectedSparsity: 0 },
): SettingsWarning[] {
  if (prunesAtOnce(settings.recipe)) return []; // no masks learn
  const { targetSparsity, totalSteps, warmupSteps, maskLearningRate } = settings;
  const steps = totalSteps - from.step;
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
  const { least, most } = reachableSparsity(settings, steps, from.expectedSparsity);
  if (most < targetSparsity - TARGET_TOLERANCE || least > targetSparsity + TARGET_TOLERANCE) {
    const limit = most < targetSparsity ? `at most ${percent(most)}` : `at least ${percent(least)}`;
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

// The time of a run: how long its steps and evaluations take at measured rates, and how many steps fit a time (docs/design/time.md). All
// functions are pure.
import { timeWords } from '#comparison';
import { EspalierError, type SettingName } from '#protocol';
import { firstTokensOf } from '../record/measures.js';
import type { Budget, DataIdentity, ModelIdentity, RunSettings, StepRates } from '../record/pruning-run.events.js';
import { largestNumber } from './largest-number.js';
import { prunesAtOnce, prunesUntrained } from './phases.js';
import { recoveryPerPruning, withSteps } from './run-settings.js';

/** The longest time of a segment in seconds, and so the most work that a crash of a slow model loses. */
export const SEGMENT_SECONDS = 15;

/** The fewest steps that a time may leave for pruning and for recovery. With fewer, nothing is learned. */
const FEWEST_STEPS = 10;
const MOST_STEPS = 10_000_000;

export interface RunToTime {
  settings: RunSettings;
  model: ModelIdentity;
  data: Pick<DataIdentity, 'validationDigest' | 'validationTokens'>;
  budget?: Budget | undefined;
  /** The settings that follow from the steps. */
  following?: readonly SettingName[] | undefined;
}

/** The steps of pruning, each at its share of the way from the open model to the target, and what the ends of segments take. */
function pruningSeconds({ settings }: Pick<RunToTime, 'settings'>, rates: StepRates): number {
  const { recipe, totalSteps, warmupSteps, schedule, targetSparsity, snapshotInterval } = settings;
  if (prunesUntrained(recipe)) return rates.closing + rates.segmentEnd * Math.ceil(totalSteps / settings.segmentSteps);
  const atTarget = totalSteps - warmupSteps + warmupSteps * (schedule === 'cubic' ? 3 / 4 : 1 / 2);
  const seconds = totalSteps * rates.stepOpen + atTarget * (rates.stepAtTarget - rates.stepOpen);
  return seconds + rates.segmentEnd * (Math.floor(targetSparsity / snapshotInterval) + segmentsOf(settings, totalSteps, seconds));
}

function recoverySeconds({ settings }: Pick<RunToTime, 'settings'>, rates: StepRates): number {
  const { recoverSteps } = settings;
  if (recoverSteps === 0) return 0;
  const seconds = recoverSteps * rates.recoveryStep;
  return rates.recoveryStart + seconds + rates.segmentEnd * segmentsOf(settings, recoverSteps, seconds);
}

const segmentsOf = ({ segmentSteps }: RunSettings, steps: number, seconds: number): number =>
  Math.ceil(Math.max(steps / segmentSteps, seconds / SEGMENT_SECONDS));

/** The perplexity of the intact model and of the pruned one. */
export function evaluationSeconds({ settings, data }: Pick<RunToTime, 'settings' | 'data'>, rates: StepRates): number {
  if (data.validationDigest === null) return 0;
  const tokens = firstTokensOf({ settings, data }) || data.validationTokens;
  return rates.evaluationStart + tokens * (rates.evaluatedToken + rates.evaluatedTokenAtTarget);
}

/** The expected seconds of a run after its preparation and the measuring of its rates. */
export const runSeconds = (run: Pick<RunToTime, 'settings' | 'data'>, rates: StepRates): number =>
  pruningSeconds(run, rates) + recoverySeconds(run, rates) + evaluationSeconds(run, rates);

/**
 * Chooses the steps of a run by its time. They have the recipe's ratio of recovery to pruning; the steps that are left are recovery.
 * @param spentSeconds what the run has taken before, its measuring included
 * @throws EspalierError TIME_TOO_SHORT
 */
export function settingsForTime(run: RunToTime, rates: StepRates, spentSeconds: number): { settings: RunSettings; seconds: number } {
  const { settings, model, budget = null, following = [] } = run;
  const atOnce = prunesAtOnce(settings.recipe);
  const perPruning = recoveryPerPruning(settings);
  const withThese = (totalSteps: number, recoverSteps: number): RunSettings =>
    withSteps(settings, { totalSteps, recoverSteps }, following, model, budget);
  const secondsOf = (tried: RunSettings): number => spentSeconds + runSeconds({ ...run, settings: tried }, rates);
  const inRatio = (steps: number): RunSettings => (atOnce ? withThese(1, steps) : withThese(steps, Math.round(steps * perPruning)));
  const fits = (tried: RunSettings): boolean => secondsOf(tried) <= settings.time;
  const fewest = inRatio(FEWEST_STEPS);
  if (!fits(fewest)) throw tooShort(settings.time, fewest, secondsOf(fewest));
  const steps = largestNumber((count) => fits(inRatio(count)), FEWEST_STEPS, MOST_STEPS);
  let chosen = inRatio(steps);
  if (!atOnce && perPruning > 0) {
    const recoverSteps = largestNumber((count) => fits(withThese(steps, count)), chosen.recoverSteps, MOST_STEPS);
    chosen = withThese(steps, recoverSteps);
  }
  return { settings: chosen, seconds: secondsOf(chosen) };
}

function tooShort(time: number, { totalSteps, recoverSteps }: RunSettings, seconds: number): EspalierError {
  const steps = [`${totalSteps} of pruning`, ...(recoverSteps > 0 ? [`${recoverSteps} of recovery`] : [])].join(' and ');
  const description = `is ${timeWords(time)}: the shortest time that works here is ${timeWords(Math.ceil(seconds))}, with ${steps}`;
  return new EspalierError('TIME_TOO_SHORT', description, {
    violations: [{ field: 'settings.time', description, code: 'TIME_TOO_SHORT' }],
  });
}

// Decides what a run needs next, as a pure function of its record. This is the heart of the driver.
import { numericsChanged } from '../pruning-run/aggregate/engine-decisions.js';
import { isFinished, stepOf, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { endStepOf } from '../pruning-run/method/phases.js';
import { ownPerplexity, sameMeasure } from '../pruning-run/record/measures.js';
import type { PruningRunEventData } from '../pruning-run/record/pruning-run.events.js';

/** A run fails for skipped steps only after this number of steps, or at its end. */
const SKIPS_JUDGED_FROM_STEPS = 20;

export type RunAction =
  | { kind: 'leave' } // the run has ended, or another attempt took over
  | { kind: 'pause'; by: 'request' | 'shutdown' }
  | { kind: 'giveUp'; code: string; message: string; field: string }
  | { kind: 'train' }
  | { kind: 'evaluate'; subject: 'intact' | 'masked' }
  | { kind: 'complete' };

/**
 * @param attempt the attempt that asks; it leaves a run that has moved on to another attempt
 * @param shuttingDown whether to stop at this step boundary; the run then goes on by itself at the next start
 * @param evaluationError the error if the evaluation at the end can't be made; the run completes without it, unless its model is at fault
 */
export function nextAction(
  run: PruningRunState,
  attempt: number,
  shuttingDown: boolean,
  evaluationError: { code: string; message: string } | null = null,
): RunAction {
  if (isFinished(run) || !run.attemptOpen || run.attempt !== attempt) return { kind: 'leave' };
  if (run.pauseRequested) return { kind: 'pause', by: 'request' };
  if (shuttingDown) return { kind: 'pause', by: 'shutdown' };
  const skipped = mostlySkipped(run);
  if (skipped !== null) return { kind: 'giveUp', ...skipped };
  if (stepOf(run) < endStepOf(run.settings)) {
    if (run.engine?.evaluatesOnly !== true) return { kind: 'train' };
    // The state at the end is damaged, so steps are trained again. That needs the consent that the evaluation did not.
    const { code, message } = numericsChanged(run, run.numericsFingerprint!, run.engine.numericsFingerprint);
    return { kind: 'giveUp', code, message, field: 'accept_other_numerics' };
  }
  if (evaluationError?.code === 'EVALUATION_NOT_FINITE') return { kind: 'giveUp', ...evaluationError, field: '' };
  if (run.data.validationDigest !== null && evaluationError === null) {
    if (!isEvaluated(run, 'intact', null)) return { kind: 'evaluate', subject: 'intact' };
    if (!isEvaluated(run, 'masked', run.current!.stateDigest)) return { kind: 'evaluate', subject: 'masked' };
  }
  return { kind: 'complete' };
}

/**
 * Returns the error of a run whose latest steps were mostly skipped. A skipped step trains nothing, so this run must not end as if it had
 * been trained.
 */
function mostlySkipped(run: PruningRunState): { code: string; message: string; field: string } | null {
  const { fromStep, steps } = run.latestSkips;
  const judged = stepOf(run) - fromStep;
  const enough = stepOf(run) < endStepOf(run.settings) ? SKIPS_JUDGED_FROM_STEPS : 1;
  if (judged < enough || steps.length * 2 <= judged) return null;
  const message =
    `${steps.length} of the last ${judged} steps were skipped, since their loss or a gradient was not finite: ` +
    'lower the learning rates, or rewind to a teacher';
  return { code: 'STEPS_SKIPPED', message, field: 'settings.lora_learning_rate' };
}

function isEvaluated(
  run: PruningRunState,
  subject: PruningRunEventData<'EvaluationRecorded'>['subject'],
  stateDigest: string | null,
): boolean {
  const own = ownPerplexity(run);
  return own !== null && run.evaluations.some((one) => one.subject === subject && one.stateDigest === stateDigest && sameMeasure(one, own));
}

// What a run needs next, as a pure function of what is recorded about it: the heart of the driver.
import { isFinished, stepOf, type PruningRunState } from '../pruning-run/pruning-run.js';
import type { PruningRunEventData } from '../pruning-run/pruning-run.events.js';

/** Non-finite steps in a row after which training is not going to recover. */
export const SKIPPED_IN_A_ROW_MAX = 100;

export type RunAction =
  | { kind: 'leave' } // ended, or another attempt took over
  | { kind: 'pause'; by: 'request' | 'shutdown' }
  | { kind: 'giveUp'; code: string; message: string; field: string }
  | { kind: 'train' }
  | { kind: 'evaluate'; subject: 'intact' | 'masked' }
  | { kind: 'complete' };

/**
 * @param attempt the attempt that asks: a run that has moved on to another is left alone
 * @param shuttingDown stop at this boundary; the run goes on by itself at the next start
 * @param evaluationFailed the evaluation at the end can't be made; complete without it
 */
export function nextAction(run: PruningRunState, attempt: number, shuttingDown: boolean, evaluationFailed = false): RunAction {
  if (isFinished(run) || !run.attemptOpen || run.attempt !== attempt) return { kind: 'leave' };
  if (run.pauseRequested) return { kind: 'pause', by: 'request' };
  if (shuttingDown) return { kind: 'pause', by: 'shutdown' };
  if (run.skippedInARow >= SKIPPED_IN_A_ROW_MAX) {
    const message = `${run.skippedInARow} steps in a row were not finite: lower the learning rates, or rewind to a teacher`;
    return { kind: 'giveUp', code: 'TRAINING_DIVERGED', message, field: 'settings.lora_learning_rate' };
  }
  if (stepOf(run) < run.settings.totalSteps) return { kind: 'train' };
  if (run.data.validationDigest !== null && !evaluationFailed) {
    if (!isEvaluated(run, 'intact', null)) return { kind: 'evaluate', subject: 'intact' };
    if (!isEvaluated(run, 'masked', run.current!.stateDigest)) return { kind: 'evaluate', subject: 'masked' };
  }
  return { kind: 'complete' };
}

function isEvaluated(
  run: PruningRunState,
  subject: PruningRunEventData<'EvaluationRecorded'>['subject'],
  stateDigest: string | null,
): boolean {
  return run.evaluations.some(
    (one) =>
      one.subject === subject &&
      one.stateDigest === stateDigest &&
      one.dataDigest === run.data.validationDigest &&
      one.window === run.settings.evaluationWindow,
  );
}

/** One engine: runs take turns in the order of their launch. A run that waits for its restart keeps its turn. */
export function nextInTurn(runs: Iterable<PruningRunState>): PruningRunState | null {
  let first: PruningRunState | null = null;
  for (const run of runs) {
    if (first === null || run.launchedAt < first.launchedAt || (run.launchedAt === first.launchedAt && run.runId < first.runId))
      first = run;
  }
  return first;
}

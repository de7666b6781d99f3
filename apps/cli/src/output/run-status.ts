// Describes the status of a run, with important warnings beside it.
import { hasMissedTarget, missAdvice } from '#comparison';
import { v1 } from '#protocol';
import { count, howMany, percent, statusWord } from './format.js';
import type { Style } from './terminal.js';

/** Returns the number of steps in all phases of the run's plan. */
export function stepsInAll({ phases, settings }: Pick<v1.Run, 'phases' | 'settings'>): number | undefined {
  const last = phases.at(-1);
  return last === undefined ? settings?.totalSteps : Number(last.endStep);
}

/** Returns a text like "400 steps" or "400 steps, then 1,000 of recovery". */
export function stepsInWords({ totalSteps, recoverSteps }: Partial<Pick<v1.RunSettings, 'totalSteps' | 'recoverSteps'>>): string {
  return howMany(totalSteps ?? 0, 'step') + (recoverSteps ? `, then ${count(recoverSteps)} of recovery` : '');
}

/**
 * Tells whether all steps are recorded and the run still goes on: only the evaluation on its validation text is left. After a restart the
 * engine loads the model for it again.
 */
export function isEvaluating(run: v1.Run): boolean {
  const { status, step } = run;
  const works = status === v1.RunStatus.RUN_STATUS_TRAINING || status === v1.RunStatus.RUN_STATUS_PREPARING;
  return works && step > 0n && step >= BigInt(stepsInAll(run) ?? Number.MAX_SAFE_INTEGER);
}

/** The word for the status of a run that evaluates. */
export const EVALUATING = 'evaluating';

/** Tells whether the run's pruning ended away from its target, by the masks that are exported. Recovery does not change them. */
export function missedTarget({ status, step, hardSparsity, settings }: v1.Run): boolean {
  const targetSparsity = settings?.targetSparsity;
  const completed = status === v1.RunStatus.RUN_STATUS_COMPLETED || step >= (settings?.totalSteps ?? Infinity);
  return targetSparsity !== undefined && hasMissedTarget({ completed, hardSparsity, targetSparsity });
}

/** Says by how much a run missed its target, and which settings help. */
export function missWords({ hardSparsity, expectedSparsity, settings }: v1.Run): string {
  const targetSparsity = settings?.targetSparsity ?? Number.NaN;
  const missed = `the target was missed: sparsity ${percent(hardSparsity)} instead of ${percent(targetSparsity)}`;
  const isFree = [undefined, v1.ShapeTarget.SHAPE_TARGET_FREE].includes(settings?.shapeTarget);
  const names = { steps: '--steps', maskRate: '--mask-lr', freeShapes: '--for free' };
  return `${missed}; ${missAdvice({ expectedSparsity, targetSparsity, isFree }, names)}`;
}

/**
 * Describes the status. A run that waits shows the code of the cause. Lost metrics don't change a run, but its record is not complete. A
 * missed target does not make a run fail.
 */
export function statusText(run: v1.Run): string {
  const { status, damage, waitingFor, preparation } = run;
  const notes = [
    ...(preparation === undefined || preparation.doneShare === 0 ? [] : [percent(preparation.doneShare, 0)]),
    ...(waitingFor === undefined ? [] : [waitingFor.code]),
    ...(missedTarget(run) ? ['target missed'] : []),
    ...(damage.length > 0 && status !== v1.RunStatus.RUN_STATUS_DAMAGED ? ['metrics damaged'] : []),
  ];
  return [isEvaluating(run) ? EVALUATING : statusWord(status), ...notes].join(', ');
}

export function statusStyle(run: v1.Run): Style {
  switch (run.status) {
    case v1.RunStatus.RUN_STATUS_COMPLETED:
      return missedTarget(run) ? 'yellow' : 'green';
    case v1.RunStatus.RUN_STATUS_FAILED:
    case v1.RunStatus.RUN_STATUS_DAMAGED:
      return 'red';
    case v1.RunStatus.RUN_STATUS_RESTARTING:
    case v1.RunStatus.RUN_STATUS_PAUSED:
    case v1.RunStatus.RUN_STATUS_CANCELLED:
    case v1.RunStatus.RUN_STATUS_DELETED:
      return 'yellow';
    default:
      return 'cyan';
  }
}

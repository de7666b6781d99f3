// The status that clients see. It follows from the events, except for one thing that no event can tell in time: that the engine which
// should be training no longer gives a sign of life.
import { enumValue, v1 } from '#protocol';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';

type StatusInput = Pick<PruningRunState, 'status' | 'pausedBy' | 'engine' | 'updatedAt'>;

/** The time until which the engine's last sign of life counts, or null while none is attached. */
export function leaseUntilMs(run: StatusInput, heardAtMs: number | null): number | null {
  if (run.status !== 'training' || run.engine === null) return null;
  return Math.max(Date.parse(run.updatedAt), heardAtMs ?? 0) + run.engine.leaseMs;
}

export function shownStatus(run: StatusInput, heardAtMs: number | null, nowMs: number): v1.RunStatus {
  const leaseMs = leaseUntilMs(run, heardAtMs);
  if (leaseMs !== null && leaseMs < nowMs) return v1.RunStatus.RUN_STATUS_RESTARTING;
  // A run that only a shutdown interrupted waits for its turn and needs no resume.
  if (run.status === 'paused' && run.pausedBy === 'shutdown') return v1.RunStatus.RUN_STATUS_QUEUED;
  return statusNumber(run.status);
}

/** Tells whether all steps of a run that works are recorded, so that only the evaluation on its validation text is left. */
export function isEvaluating({ status, step, phases }: Pick<v1.Run, 'status' | 'step' | 'phases'>): boolean {
  const works = status === v1.RunStatus.RUN_STATUS_TRAINING || status === v1.RunStatus.RUN_STATUS_PREPARING;
  const last = phases.at(-1);
  return works && step > 0n && last !== undefined && step >= last.endStep;
}

export const statusNumber = (status: PruningRunState['status']): v1.RunStatus => enumValue(v1.RunStatus, 'RUN_STATUS_', status);

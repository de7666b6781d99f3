// The errors by which a run refuses a change. Their codes are stable; libs/protocol has the table of codes.
import { EspalierError, type ErrorCode } from '#protocol';
import type { PruningRunState } from './pruning-run.state.js';

export class RunError extends EspalierError {
  constructor(
    code: ErrorCode,
    message: string,
    run: Pick<PruningRunState, 'runId'> | null,
    field = '',
    metadata: Record<string, string> = {},
  ) {
    super(code, message, {
      metadata: { ...(run === null ? {} : { run_id: run.runId }), ...metadata },
      violations: field === '' ? [] : [{ field, description: message, code }],
    });
  }
}

export const runNotFound = (runId: string, field = 'run_id', why = ''): RunError =>
  new RunError('RUN_NOT_FOUND', `there is no run ${runId}${why === '' ? '' : `: ${why}`}`, { runId }, field);
export const runDamaged = (runId: string, problems: string[]): RunError =>
  new RunError('RUN_DAMAGED', `the record of run ${runId} is damaged, so it can't go on or be changed: ${problems.join('; ')}`, { runId });
export const runDeleted = (run: Pick<PruningRunState, 'runId'>, field = 'run_id'): RunError =>
  new RunError('RUN_DELETED', `run ${run.runId} was deleted: its history is all that is left of it`, run, field);
export const runFinished = (run: PruningRunState, hint: string): RunError =>
  new RunError('RUN_FINISHED', `run ${run.runId} has ended (${run.status})${hint}`, run);
export const runStillActive = (run: PruningRunState, hint: string): RunError =>
  new RunError('RUN_STILL_ACTIVE', `run ${run.runId} is ${run.status}${hint}`, run);
export const attemptStale = (run: PruningRunState, attempt: number): RunError =>
  new RunError('ATTEMPT_STALE', `attempt ${attempt} of run ${run.runId} was given up; the current one is ${run.attempt}`, run);

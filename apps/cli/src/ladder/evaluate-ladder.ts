// Asks the server to evaluate the models of a ladder that lack an evaluation, as a button of the dashboard does, and waits for the end.
import { setTimeout as sleep } from 'node:timers/promises';
import { EspalierError, v1 } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import { Connection } from '../connection/connection.js';
import type { Context } from '../command-context.js';

const LOOK_AGAIN_MS = 300;

/** The calls about the ladder of one run. */
export interface LadderCalls {
  start(): Promise<v1.LadderJob>;
  /** Returns the job; undefined: the server has had no job since its start. */
  get(): Promise<v1.LadderJob | undefined>;
  /** Cancels the job. This call works also after the command was told to stop. */
  cancel(): Promise<unknown>;
  pause(): Promise<unknown>;
}

export function ladderCalls({ connection, signal }: Context, request: v1.StartLadderRequest): LadderCalls {
  const { runs } = connection;
  const { runId } = request;
  return {
    start: async () => (await connection.call(runs, runs.startLadder, request)).job!,
    get: async () => (await connection.call(runs, runs.getLadder, { runId })).job,
    cancel: async () => {
      const lasting = new Connection(connection.server);
      try {
        return await lasting.call(lasting.runs, lasting.runs.cancelLadder, { runId }, CANCEL_MS);
      } finally {
        lasting.close();
      }
    },
    pause: () => sleep(LOOK_AGAIN_MS, undefined, { signal }).catch(() => signal.throwIfAborted()),
  };
}

/** The time for cancelling the job, since the process ends soon after it was told to stop. */
const CANCEL_MS = 1_500;

interface Followed {
  onProgress: (job: v1.LadderJob) => void;
  signal: AbortSignal;
}

/**
 * Evaluates the ladder. The server has one job for the ladder of a run. If another client has started a job, it may leave out teachers that
 * this command asks for. That job is waited for and never cancelled by this command.
 *
 * @throws EspalierError that says why the job failed
 */
export async function evaluateLadder(calls: LadderCalls, { onProgress, signal }: Followed): Promise<void> {
  let others = await calls.get();
  while (isRunning(others)) {
    onProgress({ ...others, evaluated: 0 });
    await calls.pause();
    others = await calls.get();
  }
  try {
    let job: v1.LadderJob | undefined = await calls.start();
    while (isRunning(job)) {
      onProgress(job);
      await calls.pause();
      job = await calls.get();
    }
    requireDone(job);
  } catch (error) {
    // A server that can't be reached continues the job, and records its evaluations.
    if (signal.aborted) await calls.cancel().catch(() => undefined);
    throw error;
  }
}

const isRunning = (job: v1.LadderJob | undefined): job is v1.LadderJob => job?.state === v1.LadderState.LADDER_STATE_RUNNING;

function requireDone(job: v1.LadderJob | undefined): void {
  if (job?.state === v1.LadderState.LADDER_STATE_DONE) return;
  if (job?.failure !== undefined) throw new EspalierError(job.failure.code, job.failure.message);
  const why = job === undefined ? 'the server was started again' : 'the evaluation of the ladder was cancelled';
  throw new CliError('RESULT_MISSING', `${why}: finished evaluations stay in the history; try again`, {
    exitCode: ExitCode.failed,
  });
}

// Follows a run as a stream of updates that survives the server. When the server goes away, the stream goes on from the last revision seen.
import { v1 } from '#protocol';
import { lastingStream, type ConnectionNews } from '../connection/lasting-stream.js';
import type { ServerAddress } from '../connection/server-address.js';

export type RunUpdate = { kind: 'update'; update: v1.WatchRunResponse } | ConnectionNews;

export interface FollowOptions {
  findServer: () => ServerAddress;
  runId: string;
  afterRevision?: bigint;
  /** Goes on after the run has ended, and while it waits for a user. */
  follow?: boolean;
  /** The time in ms to look for a server that has gone; undefined: for ever. */
  giveUpAfterMs?: number;
  signal?: AbortSignal;
}

const { RUN_STATUS_COMPLETED, RUN_STATUS_FAILED, RUN_STATUS_CANCELLED, RUN_STATUS_DAMAGED, RUN_STATUS_DELETED } = v1.RunStatus;
const ENDED = [RUN_STATUS_COMPLETED, RUN_STATUS_FAILED, RUN_STATUS_CANCELLED, RUN_STATUS_DAMAGED, RUN_STATUS_DELETED];

/** Tells whether the run has ended, so that nothing more happens to it by itself. */
export function hasEnded(run: v1.Run | undefined): boolean {
  return run !== undefined && ENDED.includes(run.status);
}

/** Tells whether the run stands still until a user removes the cause. */
export function waitsForUser(run: v1.Run | undefined): run is v1.Run & { waitingFor: v1.Wait } {
  return run?.waitingFor !== undefined && run.waitingFor.command !== '';
}

/** Yields every step once, also if a server has lost its unrecorded steps and trains them again. */
export async function* followRun(options: FollowOptions): AsyncGenerator<RunUpdate> {
  let { afterRevision } = options;
  let last: v1.Run | undefined;
  let nextStep = 0n;
  const items = lastingStream({
    ...options,
    open: (connection) =>
      connection.stream(
        connection.runs,
        connection.runs.watchRun,
        { runId: options.runId, afterRevision, follow: options.follow ?? false },
        options.signal,
      ),
    isOver: () => hasEnded(last),
  });
  for await (const item of items) {
    if (item.kind !== 'message') {
      yield item;
      continue;
    }
    const update = item.message;
    // After a rewind the steps are new ones with the same numbers.
    if (update.run !== undefined && last !== undefined && update.run.rewinds !== last.rewinds) nextStep = 0n;
    const steps = update.steps.filter(({ step }) => step >= nextStep);
    nextStep = (steps.at(-1)?.step ?? nextStep - 1n) + 1n;
    afterRevision = update.revision;
    last = update.run ?? last;
    yield { kind: 'update', update: { ...update, steps } };
    if (waitsForUser(last) && !options.follow) return;
  }
}

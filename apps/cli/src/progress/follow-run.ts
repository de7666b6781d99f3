// A run as a stream of updates that survives the server: when it goes away, we ask again from the last revision seen.
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { statusOf, toEspalierError, v1 } from '#protocol';
import { Connection } from '../connection/connection.js';
import type { ServerAddress } from '../connection/server-address.js';

export type RunUpdate =
  | { kind: 'update'; update: v1.WatchRunResponse }
  | { kind: 'disconnected'; reason: Error }
  | { kind: 'reconnected' };

export interface FollowOptions {
  /** Asked anew before each attempt: a restarted server may listen elsewhere. */
  findServer: () => ServerAddress;
  runId: string;
  afterRevision?: bigint;
  /** Stay after the run has ended. */
  follow?: boolean;
  /** How long to look for a server that has gone; without it, for ever. */
  giveUpAfterMs?: number;
  signal?: AbortSignal;
}

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 3_000;

export function hasEnded(run: v1.Run | undefined): boolean {
  return run?.status === v1.RunStatus.RUN_STATUS_COMPLETED || run?.status === v1.RunStatus.RUN_STATUS_FAILED
    || run?.status === v1.RunStatus.RUN_STATUS_CANCELLED;
}

/** The first connection must succeed; afterwards only an answer of the server ends it. */
export async function* followRun(options: FollowOptions): AsyncGenerator<RunUpdate> {
  let afterRevision = options.afterRevision;
  let seen = false;
  let last: v1.Run | undefined;
  let lostAt: number | null = null;
  let waitMs = FIRST_WAIT_MS;
  for (;;) {
    let reason: Error;
    const connection = new Connection(options.findServer());
    try {
      const request = { runId: options.runId, afterRevision, follow: options.follow ?? false };
      for await (const update of connection.stream(connection.runs, connection.runs.watchRun, request, options.signal)) {
        if (lostAt !== null) yield { kind: 'reconnected' };
        lostAt = null;
        waitMs = FIRST_WAIT_MS;
        seen = true;
        afterRevision = update.revision;
        last = update.run ?? last;
        yield { kind: 'update', update };
      }
      // A server that stops in an orderly way ends its streams; so does the end of the run.
      if (hasEnded(last)) return;
      reason = new Error('the server ended the stream');
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!isTransient(error) || (!seen && lostAt === null)) throw error;
      reason = error as Error;
    } finally {
      connection.close();
    }
    if (lostAt === null) yield { kind: 'disconnected', reason };
    lostAt ??= Date.now();
    if (options.giveUpAfterMs !== undefined && Date.now() - lostAt > options.giveUpAfterMs) throw reason;
    await sleep(waitMs, undefined, options.signal === undefined ? {} : { signal: options.signal });
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  }
}

function isTransient(error: unknown): boolean {
  const { code } = toEspalierError(error);
  if (code === 'SERVER_UNAVAILABLE') return true;
  const grpcStatus = status[code as keyof typeof status] ?? statusOf(code);
  // CANCELLED and UNKNOWN without details: a connection that broke in the middle of a message.
  return [status.UNAVAILABLE, status.CANCELLED, status.UNKNOWN, status.DEADLINE_EXCEEDED].includes(grpcStatus as status);
}

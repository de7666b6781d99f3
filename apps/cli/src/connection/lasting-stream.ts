// A stream of the server that survives the server: when it goes away, it is asked for anew from where the messages ended.
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { statusOf, toEspalierError } from '#protocol';
import { Connection } from './connection.js';
import type { ServerAddress } from './server-address.js';

export type ConnectionNews = { kind: 'disconnected'; reason: Error } | { kind: 'reconnected' };
export type Lasting<Message> = { kind: 'message'; message: Message } | ConnectionNews;

export interface LastingOptions<Message> {
  /** Asked anew before each attempt: a restarted server may listen elsewhere. */
  findServer: () => ServerAddress;
  /** Asks for what comes after the messages so far. */
  open: (connection: Connection) => AsyncIterable<Message>;
  /** Whether a stream that the server ended is over; a server that stops in an orderly way ends its streams too. */
  isOver?: () => boolean;
  /** How long to look for a server that has gone; without it, for ever. */
  giveUpAfterMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 3_000;

/** The first connection must succeed; afterwards only an answer of the server ends it. */
export async function* lastingStream<Message>(options: LastingOptions<Message>): AsyncGenerator<Lasting<Message>> {
  const { signal, giveUpAfterMs } = options;
  let seen = false;
  let lostAt: number | null = null;
  let waitMs = FIRST_WAIT_MS;
  for (;;) {
    let reason: Error;
    const connection = new Connection(options.findServer());
    try {
      for await (const message of options.open(connection)) {
        if (lostAt !== null) yield { kind: 'reconnected' };
        lostAt = null;
        waitMs = FIRST_WAIT_MS;
        seen = true;
        yield { kind: 'message', message };
      }
      if (options.isOver?.() === true) return;
      reason = new Error('the server ended the stream');
    } catch (error) {
      signal?.throwIfAborted();
      const isNewToken = toEspalierError(error).code === 'TOKEN_WRONG' && options.findServer().token !== connection.server.token;
      if (!(isTransient(error) || isNewToken) || !seen) throw error;
      reason = error as Error;
    } finally {
      connection.close();
    }
    if (lostAt === null) yield { kind: 'disconnected', reason };
    lostAt ??= Date.now();
    if (giveUpAfterMs !== undefined && Date.now() - lostAt > giveUpAfterMs) throw reason;
    await sleep(waitMs, undefined, signal === undefined ? {} : { signal });
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  }
}

/** Whether the same call may do better later: nobody answered, or the connection broke in the middle of a message. */
export function isTransient(error: unknown): boolean {
  const { code } = toEspalierError(error);
  if (code === 'SERVER_UNAVAILABLE') return true;
  const grpcStatus = status[code as keyof typeof status] ?? statusOf(code);
  return [status.UNAVAILABLE, status.CANCELLED, status.UNKNOWN, status.DEADLINE_EXCEEDED].includes(grpcStatus);
}

/** For standard error, so that what a program reads stays what it asked for. */
export function connectionWords(news: ConnectionNews): string {
  if (news.kind === 'reconnected') return 'connected again';
  return `connection lost (${news.reason.message}); waiting for the server, nothing will be left out ...`;
}

// A stream that survives its server. When the server goes away, the stream is opened again after the last message.
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { statusOf, toEspalierError } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import { Connection } from './connection.js';
import type { ServerAddress } from './server-address.js';

export type ConnectionNews = { kind: 'disconnected'; reason: Error } | { kind: 'reconnected' };
export type StreamItem<Message> = { kind: 'message'; message: Message } | ConnectionNews;

export interface LastingOptions<Message> {
  /** Called before each attempt, because a restarted server may listen at another address. */
  findServer: () => ServerAddress;
  /** Asks for the messages after those that have arrived. */
  open: (connection: Connection) => AsyncIterable<Message>;
  /** Tells whether a stream that the server ended is over. A server that stops in good order ends its streams too. */
  isOver?: () => boolean;
  /** The time in ms to look for a server that has gone; undefined: for ever. */
  giveUpAfterMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 3_000;

/**
 * Yields the messages, and news of the connection. The first connection must succeed. After that, only an answer of the same server ends
 * the stream, also if the server is restarted.
 */
export async function* lastingStream<Message>(options: LastingOptions<Message>): AsyncGenerator<StreamItem<Message>> {
  const { signal, giveUpAfterMs } = options;
  let known: ServerAddress | null = null; // the server whose messages have arrived
  let lostAt: number | null = null;
  let waitMs = FIRST_WAIT_MS;
  for (;;) {
    let reason: Error;
    let server: ServerAddress | null = null;
    let connection: Connection | null = null;
    try {
      server = options.findServer();
      if (server.origin === 'default' && known?.origin === 'data folder') throw gone(known);
      connection = new Connection(server);
      for await (const message of options.open(connection)) {
        if (lostAt !== null) yield { kind: 'reconnected' };
        lostAt = null;
        waitMs = FIRST_WAIT_MS;
        known = server;
        yield { kind: 'message', message };
      }
      if (options.isOver?.() === true) return;
      reason = new Error('the server ended the stream');
    } catch (error) {
      signal?.throwIfAborted();
      if (known === null || !(isTransient(error) || isRestarting(error, server, options.findServer))) throw error;
      reason = error as Error;
    } finally {
      connection?.close();
    }
    if (lostAt === null) yield { kind: 'disconnected', reason };
    lostAt ??= Date.now();
    if (giveUpAfterMs !== undefined && Date.now() - lostAt > giveUpAfterMs) throw reason;
    await sleep(waitMs, undefined, signal === undefined ? {} : { signal });
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  }
}

/**
 * The error for a server that stopped in good order, so that its data folder names no server. A server at the default address has other
 * runs.
 */
function gone({ source }: ServerAddress): CliError {
  return new CliError('SERVER_UNAVAILABLE', `${source} is gone: no server runs there now`, { exitCode: ExitCode.unavailable });
}

/** Tells whether the same call may succeed later: no server answered, or the connection broke in the middle of a message. */
function isTransient(error: unknown): boolean {
  const { code } = toEspalierError(error);
  if (code === 'SERVER_UNAVAILABLE' || code === 'TOO_MANY_CALLS') return true;
  const grpcStatus = status[code as keyof typeof status] ?? statusOf(code);
  return [status.UNAVAILABLE, status.CANCELLED, status.UNKNOWN, status.DEADLINE_EXCEEDED].includes(grpcStatus);
}

/**
 * Tells whether a refused token may come from a restart. A server has a new token at each start. A client that looked for the server in
 * between shows an old token or none, or shows it to a program that now has the old server's port.
 */
function isRestarting(error: unknown, asked: ServerAddress | null, findServer: () => ServerAddress): boolean {
  if (!['TOKEN_NEEDED', 'TOKEN_WRONG'].includes(toEspalierError(error).code)) return false;
  try {
    const now = findServer();
    return now.origin === 'data folder' || now.token !== asked?.token;
  } catch {
    return true; // the server has begun to start in the meantime
  }
}

/** The words for a change of the connection. They go to standard error, so that standard output holds only the result. */
export function connectionWords(news: ConnectionNews): string {
  if (news.kind === 'reconnected') return 'connected again';
  return `connection lost (${news.reason.message}); waiting for the server, nothing will be left out ...`;
}

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ServerWritableStream, ServerDuplexStream } from '@grpc/grpc-js';

type Sink = ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;

/**
 * Writes one chunk and returns when the client has room for the next, so that a slow client holds one chunk of
 * memory and not its whole backlog. Lets other calls have their turn in between.
 * @returns false when the client is gone
 */
export async function writeChunk(call: Sink, messages: Iterable<unknown>): Promise<boolean> {
  let hasRoom = true;
  for (const message of messages) hasRoom = call.write(message);
  if (isGone(call)) return false;
  await (hasRoom ? nextTurn() : drained(call));
  return !isGone(call);
}

export function isGone(call: Sink): boolean {
  return call.cancelled || call.destroyed || call.writableEnded;
}

function drained(call: Sink): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off('drain', done);
      call.off('cancelled', done);
      call.off('close', done);
      resolve();
    };
    call.on('drain', done);
    call.on('cancelled', done);
    call.on('close', done);
  });
}

// The data that is sent to an engine with a call: bytes at the engine's pace, and the claim that names the engine's holder.
import { InterceptingCall, type ClientWritableStream, type Interceptor } from '@grpc/grpc-js';

const MIB = 1 << 20;

/** Returns an interceptor that adds the claim to every call. */
export function showing(claim: string): Interceptor {
  return (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start: (metadata, listener, next) => {
        metadata.set('espalier-claim', claim);
        next(metadata, listener);
      },
    });
}

/** Sends bytes in messages of at most 1 MiB, no faster than the engine takes them. It stops without an error when the call has ended. */
export async function send<Request>(
  call: Pick<ClientWritableStream<Request>, 'write' | 'end' | 'once' | 'off'>,
  bytes: AsyncIterable<Uint8Array>,
  message: (chunk: Buffer, first: boolean) => Request,
): Promise<void> {
  let ended = false;
  const end = (): void => {
    ended = true;
  };
  call.once('status', end);
  let first = true;
  for await (const piece of bytes) {
    for (let start = 0; start < piece.byteLength && !ended; start += MIB) {
      const part = piece.subarray(start, start + MIB);
      const room = call.write(message(Buffer.from(part.buffer, part.byteOffset, part.byteLength), first));
      first = false;
      if (!room) await drainedOrEnded(call);
    }
    if (ended) return;
  }
  if (first) call.write(message(Buffer.alloc(0), true));
  call.end();
}

interface StateMessage {
  sessionId: string;
  digest: string;
  chunk: Buffer;
  address: string;
}

/**
 * Returns the pieces of a state, and the function that makes the message for each: its bytes, or the address at which the engine reads
 * them.
 */
export function stateUpload(
  sessionId: string,
  digest: string,
  from: AsyncIterable<Uint8Array> | string,
): [bytes: AsyncIterable<Uint8Array>, message: (chunk: Buffer, first: boolean) => StateMessage] {
  const address = typeof from === 'string' ? from : '';
  const message = (chunk: Buffer, first: boolean): StateMessage =>
    first ? { sessionId, digest, chunk, address } : { sessionId: '', digest: '', chunk, address: '' };
  return [typeof from === 'string' ? nothing() : from, message];
}

async function* nothing(): AsyncGenerator<Uint8Array> {
  // The address says it all.
}

export function drainedOrEnded(call: Pick<NodeJS.EventEmitter, 'once' | 'off'>): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.off('drain', done);
      call.off('status', done);
      resolve();
    };
    call.once('drain', done);
    call.once('status', done);
  });
}

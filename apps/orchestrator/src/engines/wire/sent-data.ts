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

/** Where an engine gets a state from: bytes that are sent, signed addresses of a bucket, or a file or folder that both share. */
export type StateOrigin = { bytes: AsyncIterable<Uint8Array> } | { addresses: string[] } | { file: string };

interface StateMessage {
  sessionId: string;
  digest: string;
  chunk: Buffer;
  addresses: string[];
  stateFile: string;
}

/** Returns the pieces of a state, and the function that makes the message for each. Without bytes, the first message says it all. */
export function stateUpload(
  sessionId: string,
  digest: string,
  from: StateOrigin,
): [bytes: AsyncIterable<Uint8Array>, message: (chunk: Buffer, first: boolean) => StateMessage] {
  const addresses = 'addresses' in from ? from.addresses : [];
  const stateFile = 'file' in from ? from.file : '';
  const message = (chunk: Buffer, first: boolean): StateMessage =>
    first ? { sessionId, digest, chunk, addresses, stateFile } : { sessionId: '', digest: '', chunk, addresses: [], stateFile: '' };
  return ['bytes' in from ? from.bytes : nothing(), message];
}

async function* nothing(): AsyncGenerator<Uint8Array> {
  // The first message says it all.
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

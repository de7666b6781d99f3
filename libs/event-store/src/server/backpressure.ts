import type { ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import { MessageBatch, type Encodable } from './message-batch.js';
import type { EventCorrupt } from './refusals.js';

type Sink = ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;

interface Outlet {
  /** Settles when the chunk before the current one has left. */
  previous: Promise<unknown>;
  gone: Promise<unknown>;
}

const outlets = new WeakMap<Sink, Outlet>();

/**
 * Writes one chunk and returns when the one before it has left: the next is prepared while one is on its way, and a
 * slow client holds two chunks of memory and not its whole backlog.
 * @returns false when the client is gone
 */
async function writeChunk(call: Sink, messages: Encodable[]): Promise<boolean> {
  if (isGone(call)) return false;
  if (messages.length === 0) return true;
  const outlet = outletOf(call);
  const batch = messages.length === 1 ? messages[0] : new MessageBatch(messages);
  const { previous } = outlet;
  outlet.previous = new Promise((resolve) => call.write(batch, resolve));
  await Promise.race([previous, outlet.gone]);
  return !isGone(call);
}

/**
 * A damaged event ends the call, after everything before it has left: the error names its place, from which the client goes
 * on if it wants the others. @returns false when the client is gone
 */
export async function deliver(call: Sink, messages: Encodable[], damaged: EventCorrupt | undefined): Promise<boolean> {
  const goesOn = await writeChunk(call, messages);
  if (!damaged) return goesOn;
  const outlet = outlets.get(call);
  if (outlet) await Promise.race([outlet.previous, outlet.gone]);
  throw damaged;
}

export function isGone(call: Sink): boolean {
  return call.cancelled || call.destroyed || call.writableEnded;
}

function outletOf(call: Sink): Outlet {
  const known = outlets.get(call);
  if (known) return known;
  const gone = new Promise<void>((resolve) => call.once('cancelled', resolve).once('close', resolve));
  const outlet = { previous: Promise.resolve(), gone };
  outlets.set(call, outlet);
  return outlet;
}

import { setImmediate } from 'node:timers/promises';
import type { ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import { MessageBatch, type Encodable } from './message-batch.js';
import type { EventCorrupt } from './store/refusals.js';

type Sink = ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;

interface FlowControl {
  /** Settles when the chunk before the current one has been sent. */
  previous: Promise<unknown>;
  gone: Promise<unknown>;
}

const outlets = new WeakMap<Sink, FlowControl>();

/**
 * Writes one chunk and returns when the chunk before it has been sent. So one chunk is prepared while another is on its way, and a slow
 * client takes the memory of two chunks, not of its whole backlog.
 * @returns false when the client is gone
 */
async function writeChunk(call: Sink, messages: Encodable[]): Promise<boolean> {
  if (isGone(call)) return false;
  if (messages.length === 0) {
    // A filtered read may look through millions of events and find none: other calls get their turn in between.
    await setImmediate();
    return !isGone(call);
  }
  const outlet = outletOf(call);
  const batch = messages.length === 1 ? messages[0] : new MessageBatch(messages);
  const { previous } = outlet;
  outlet.previous = new Promise((resolve) => call.write(batch, resolve));
  await Promise.race([previous, outlet.gone]);
  return !isGone(call);
}

/**
 * Sends the messages. A damaged event then ends the call, after all messages before it have been sent. The error names the event's place,
 * so a client that wants the other events can go on from there. @returns false when the client is gone
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

function outletOf(call: Sink): FlowControl {
  const known = outlets.get(call);
  if (known) return known;
  const gone = new Promise<void>((resolve) => call.once('cancelled', resolve).once('close', resolve));
  const outlet = { previous: Promise.resolve(), gone };
  outlets.set(call, outlet);
  return outlet;
}

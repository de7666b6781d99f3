import { randomUUID } from 'node:crypto';
import { deliver, isGone } from './backpressure.js';
import type { ServerContext } from './server-context.js';
import type { Encodable } from './message-batch.js';
import { timestampNow } from './wire-values.js';
import { streamsPb } from './protocol-classes.js';
import type { ReadCall, ReadRequest } from './read-call.js';
import { StoreError } from './store/store-error.js';
import { Waiter } from './store/wake-ups.js';

/**
 * A subscription reads the table on from its place whenever it is woken. Catching up and following new events are the same code, so no
 * event is lost between the two.
 */
export async function subscribeToStream(context: ServerContext, call: ReadCall, request: ReadRequest): Promise<void> {
  const { log, reader } = context.store;
  const stream = request.stream!;
  let next = startOf(request.from, () => (log.heads.find(stream)?.lastRevision ?? -1) + 1);
  let caughtUp = false;
  call.write(confirmation());
  await whileOpen(context, call, stream, async () => {
    const head = log.heads.find(stream);
    if (head && head.lastRevision >= next) {
      const chunk = reader.readStream(head, next, 'forwards', Number.MAX_SAFE_INTEGER);
      if (chunk.next >= 0) {
        next = chunk.next;
        await deliver(call, chunk.records.map(request.encode), chunk.damaged);
        return 'more';
      }
    }
    if (!caughtUp) call.write(caughtUpMessage((message) => next > 0 && message.setStreamRevision(String(next - 1))));
    caughtUp = true;
    return 'wait';
  });
}

export async function subscribeToAll(context: ServerContext, call: ReadCall, request: ReadRequest): Promise<void> {
  const { log, reader } = context.store;
  const { filter, checkpointInterval } = request;
  let from = startOf(request.from, () => log.endPosition + 1);
  let untilCheckpoint = checkpointInterval;
  let caughtUp = false;
  call.write(confirmation());
  await whileOpen(context, call, undefined, async () => {
    const window = filter ? untilCheckpoint : Number.MAX_SAFE_INTEGER;
    const chunk = reader.readAll(from, 'forwards', filter, Number.MAX_SAFE_INTEGER, window);
    if (chunk.scannedTo !== undefined) {
      from = chunk.scannedTo + 1;
      untilCheckpoint -= chunk.considered;
      const messages: Encodable[] = chunk.records.map(request.encode);
      if (filter && untilCheckpoint <= 0) {
        messages.push(checkpoint(chunk.scannedTo));
        untilCheckpoint = checkpointInterval;
      }
      await deliver(call, messages, chunk.damaged);
      return 'more';
    }
    if (!caughtUp) {
      if (filter) call.write(checkpoint(log.endPosition));
      call.write(caughtUpMessage((message) => message.setPosition(positionMessage(log.endPosition))));
    }
    caughtUp = true;
    return 'wait';
  });
}

/** Runs `step` until the client leaves or the server stops. It sleeps while there is nothing to send. */
async function whileOpen(
  context: ServerContext,
  call: ReadCall,
  stream: string | undefined,
  step: () => Promise<'more' | 'wait'>,
): Promise<void> {
  const waiter = new Waiter();
  const ignore = context.store.wakeUps.listen(stream, waiter.wake);
  call.on('cancelled', waiter.wake);
  call.on('close', waiter.wake);
  context.stopping.addEventListener('abort', waiter.wake);
  try {
    while (!isGone(call)) {
      if (context.stopping.aborted) throw new StoreError('STORE_STOPPING', 'the event store is stopping');
      waiter.reset();
      if ((await step()) === 'wait' && !isGone(call)) await waiter.wait();
    }
  } finally {
    ignore();
    context.stopping.removeEventListener('abort', waiter.wake);
  }
}

/** The revision or position at which to begin reading. Subscriptions start after the given place. */
function startOf(from: ReadRequest['from'], end: () => number): number {
  if (from === 'start') return 0;
  return from === 'end' ? end() : from + 1;
}

function confirmation(): streamsPb.ReadResp {
  const message = new streamsPb.ReadResp.SubscriptionConfirmation();
  message.setSubscriptionId(randomUUID());
  const response = new streamsPb.ReadResp();
  response.setConfirmation(message);
  return response;
}

function caughtUpMessage(fill: (message: streamsPb.ReadResp.CaughtUp) => unknown): streamsPb.ReadResp {
  const message = new streamsPb.ReadResp.CaughtUp();
  message.setTimestamp(timestampNow());
  fill(message);
  const response = new streamsPb.ReadResp();
  response.setCaughtUp(message);
  return response;
}

function checkpoint(position: number): streamsPb.ReadResp {
  const message = new streamsPb.ReadResp.Checkpoint();
  message.setCommitPosition(String(position));
  message.setPreparePosition(String(position));
  message.setTimestamp(timestampNow());
  const response = new streamsPb.ReadResp();
  response.setCheckpoint(message);
  return response;
}

function positionMessage(position: number): streamsPb.ReadResp.Position {
  const message = new streamsPb.ReadResp.Position();
  message.setCommitPosition(String(position));
  message.setPreparePosition(String(position));
  return message;
}

import type { ServerContext } from '../context.js';
import { bytesToUuid } from '../event-record.js';
import { toStatus } from '../grpc-errors.js';
import { streamNameOf, uuidBytesOf } from '../messages.js';
import { persistentPb, type sharedPb } from '../pb.js';
import { InvalidArgument } from '../refusals.js';
import { Consumer, type ReadCall } from './consumer.js';
import type { PersistentGroup } from './group.js';
import type { PersistentSubscriptions } from './registry.js';
import { ALL } from './source.js';

const { Action } = persistentPb.ReadReq.Nack;
const DEFAULT_SLOTS = 10;

/** PersistentSubscriptions/Read: the first message joins a group, the later ones answer what it delivered. */
export function handlePersistentRead(context: ServerContext, subscriptions: PersistentSubscriptions, call: ReadCall): void {
  let joined: { group: PersistentGroup; consumer: Consumer } | undefined;
  let failed = false;
  const fail = (error: unknown) => {
    if (failed) return;
    failed = true;
    call.emit('error', toStatus(error));
  };
  const leave = () => {
    joined?.group.leave(joined.consumer);
    joined = undefined;
  };
  call.on('data', (request: persistentPb.ReadReq) => {
    try {
      const options = request.getOptions();
      if (options && !joined) joined = join(context, subscriptions, call, options, fail);
      else if (joined) answer(joined.group, joined.consumer, request);
      else throw new InvalidArgument('options: the first message of a subscription needs them');
    } catch (error) {
      fail(error);
    }
  });
  call.on('end', () => {
    leave();
    if (!failed) call.end();
  });
  call.on('cancelled', leave);
  call.on('close', leave);
}

function join(
  context: ServerContext,
  subscriptions: PersistentSubscriptions,
  call: ReadCall,
  options: persistentPb.ReadReq.Options,
  drop: (error: unknown) => void,
): { group: PersistentGroup; consumer: Consumer } {
  const caller = context.access.callerOf(call.metadata);
  const source = options.hasAll() ? ALL : streamNameOf(options.getStreamIdentifier());
  context.access.check(caller, source, 'read');
  const group = subscriptions.find(source, options.getGroupName());
  const consumer = new Consumer(
    call,
    caller.name,
    String(call.metadata.get('connection-name')[0] ?? ''),
    options.getBufferSize() > 0 ? options.getBufferSize() : DEFAULT_SLOTS,
    options.getUuidOption()?.hasStructured() ?? false,
    drop,
  );
  const confirmation = new persistentPb.ReadResp.SubscriptionConfirmation();
  confirmation.setSubscriptionId(`${source}::${group.name}`);
  const response = new persistentPb.ReadResp();
  response.setSubscriptionConfirmation(confirmation);
  call.write(response);
  group.join(consumer);
  return { group, consumer };
}

function answer(group: PersistentGroup, consumer: Consumer, request: persistentPb.ReadReq): void {
  const ack = request.getAck();
  if (ack) return group.acknowledge(consumer, idsOf(ack.getIdsList()));
  const nack = request.getNack();
  if (!nack) return;
  const ids = idsOf(nack.getIdsList());
  switch (nack.getAction()) {
    case Action.PARK:
      return group.park(consumer, ids, nack.getReason());
    case Action.SKIP:
      return group.skip(consumer, ids);
    case Action.STOP:
      return group.stop(consumer);
    default:
      return group.retry(consumer, ids, nack.getReason());
  }
}

function idsOf(ids: sharedPb.UUID[]): string[] {
  return ids.map((id) => bytesToUuid(uuidBytesOf(id)));
}

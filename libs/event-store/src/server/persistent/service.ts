import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import type { ServerContext } from '../context.js';
import { filterDefinitionOf, compileFilter } from '../event-filter.js';
import { toStatus } from '../grpc-errors.js';
import { serializeResponse } from '../message-batch.js';
import { streamNameOf } from '../messages.js';
import { persistentGrpc, persistentPb, sharedPb } from '../pb.js';
import { InvalidArgument } from '../refusals.js';
import { infoOf } from './group-info.js';
import { handlePersistentRead } from './read-call.js';
import type { PersistentSubscriptions } from './registry.js';
import { allStart, settingsOf, streamStart } from './settings.js';
import { ALL } from './source.js';

const { PersistentSubscriptionsService } = persistentGrpc;

/** As for reads: events are encoded by hand. */
export const persistentDefinition = {
  ...PersistentSubscriptionsService,
  read: {
    ...PersistentSubscriptionsService.read,
    responseSerialize: serializeResponse,
  },
};

export function persistentHandlers(context: ServerContext, subscriptions: PersistentSubscriptions) {
  /** Everything but reading needs an operator. */
  const managed =
    <Request, Response>(work: (request: Request) => Promise<Response> | Response) =>
    (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void => {
      const run = async () => {
        context.access.checkOperator(context.access.callerOf(call.metadata));
        return await work(call.request);
      };
      run().then(
        (response) => callback(null, response),
        (error: unknown) => callback(toStatus(error)),
      );
    };
  return {
    create: managed((request: persistentPb.CreateReq) => create(subscriptions, request)),
    update: managed((request: persistentPb.UpdateReq) => update(subscriptions, request)),
    delete: managed(async (request: persistentPb.DeleteReq) => {
      const options = required(request.getOptions());
      await subscriptions.delete(sourceOf(options), options.getGroupName());
      return new persistentPb.DeleteResp();
    }),
    getInfo: managed((request: persistentPb.GetInfoReq) => {
      const options = required(request.getOptions());
      const response = new persistentPb.GetInfoResp();
      response.setSubscriptionInfo(infoOf(subscriptions.find(sourceOf(options), options.getGroupName())));
      return response;
    }),
    replayParked: managed(async (request: persistentPb.ReplayParkedReq) => {
      const options = required(request.getOptions());
      const stopAt = options.hasStopAt() ? Number(options.getStopAt()) : undefined;
      await subscriptions.find(sourceOf(options), options.getGroupName()).replayParked(stopAt);
      return new persistentPb.ReplayParkedResp();
    }),
    list: managed((request: persistentPb.ListReq) => {
      const one = required(request.getOptions()).getListForStream();
      const source = one && (one.hasAll() ? ALL : streamNameOf(one.getStream()));
      const response = new persistentPb.ListResp();
      response.setSubscriptionsList(subscriptions.list(source).map(infoOf));
      return response;
    }),
    restartSubsystem: managed(async () => {
      await subscriptions.restart();
      return new sharedPb.Empty();
    }),
    read: handlePersistentRead.bind(undefined, context, subscriptions),
  };
}

async function create(subscriptions: PersistentSubscriptions, request: persistentPb.CreateReq) {
  const options = required(request.getOptions());
  const all = options.getAll();
  const messages = options.getSettings();
  const group = groupNameOf(options);
  if (all) {
    const filter = filterDefinitionOf(all.getFilter());
    compileFilter(filter);
    await subscriptions.create(ALL, group, settingsOf(messages, allStart(all)), filter);
  } else {
    const stream = options.getStream();
    const name = streamNameOf(stream?.getStreamIdentifier() ?? options.getStreamIdentifier());
    await subscriptions.create(name, group, settingsOf(messages, streamStart(stream, messages)));
  }
  return new persistentPb.CreateResp();
}

async function update(subscriptions: PersistentSubscriptions, request: persistentPb.UpdateReq) {
  const options = required(request.getOptions());
  const all = options.getAll();
  const messages = options.getSettings();
  const group = groupNameOf(options);
  if (all) {
    await subscriptions.update(ALL, group, settingsOf(messages, allStart(all)));
  } else {
    const stream = options.getStream();
    const name = streamNameOf(stream?.getStreamIdentifier() ?? options.getStreamIdentifier());
    await subscriptions.update(name, group, settingsOf(messages, streamStart(stream, messages)));
  }
  return new persistentPb.UpdateResp();
}

function required<T>(options: T | undefined): T {
  if (options === undefined) throw new InvalidArgument('options: the request needs them');
  return options;
}

function groupNameOf(options: { getGroupName(): string }): string {
  const name = options.getGroupName();
  if (!name) throw new InvalidArgument('group_name: a persistent subscription needs a name');
  return name;
}

function sourceOf(options: { hasAll(): boolean; getStreamIdentifier(): sharedPb.StreamIdentifier | undefined }): string {
  return options.hasAll() ? ALL : streamNameOf(options.getStreamIdentifier());
}

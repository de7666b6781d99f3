import { toStatus } from './grpc-errors.js';
import { Unimplemented } from './store/refusals.js';

/** The methods, by service, that a KurrentDB has and this server does not. */
const METHODS_ELSEWHERE = {
  'event_store.client.persistent_subscriptions.PersistentSubscriptions': [
    'Create',
    'Update',
    'Delete',
    'Read',
    'GetInfo',
    'ReplayParked',
    'List',
    'RestartSubsystem',
  ],
  'event_store.client.projections.Projections': [
    'Create',
    'Update',
    'Delete',
    'Statistics',
    'Disable',
    'Enable',
    'Reset',
    'State',
    'Result',
    'RestartSubsystem',
  ],
  'event_store.client.users.Users': ['Create', 'Update', 'Delete', 'Disable', 'Enable', 'Details', 'ChangePassword', 'ResetPassword'],
  'event_store.client.operations.Operations': [
    'StartScavenge',
    'StopScavenge',
    'Shutdown',
    'MergeIndexes',
    'ResignNode',
    'SetNodePriority',
    'RestartPersistentSubscriptions',
  ],
  'kurrentdb.protocol.v2.streams.StreamsService': ['AppendSession', 'AppendRecords'],
};

const asBytes = (bytes: Buffer): Buffer => bytes;
interface MethodHandlers {
  emit(event: 'error', error: Error): unknown;
}

/** Services whose methods refuse every call, and say that a KurrentDB answers it. They take messages as bytes and read none. */
export function servicesElsewhere(): [definition: object, handlers: object][] {
  return Object.entries(METHODS_ELSEWHERE).map(([service, methods]) => {
    const definition = methods.map((name) => {
      const path = `/${service}/${name}`;
      const streams = { requestStream: true, responseStream: true };
      return [
        name,
        {
          path,
          ...streams,
          requestSerialize: asBytes,
          requestDeserialize: asBytes,
          responseSerialize: asBytes,
          responseDeserialize: asBytes,
        },
      ];
    });
    const refuse = (name: string) => (call: MethodHandlers) => call.emit('error', toStatus(new Unimplemented(`${service}/${name}`)));
    return [Object.fromEntries(definition) as object, Object.fromEntries(methods.map((name) => [name, refuse(name)]))];
  });
}

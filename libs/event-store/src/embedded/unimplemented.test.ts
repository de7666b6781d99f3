import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  KurrentDBClient,
  persistentSubscriptionToStreamSettingsFromDefaults,
  streamNameFilter,
  UnsupportedError,
} from '@kurrent/kurrentdb-client';
import { collect, events } from '../contract/tested-server.js';
import { startEmbeddedEventStore, type EmbeddedEventStore } from '../index.js';

/** Tests calls that only a real KurrentDB answers. */
describe('what the embedded server does not have', () => {
  const folder = mkdtempSync(join(tmpdir(), 'event-store-unimplemented-'));
  let server: EmbeddedEventStore;
  let client: KurrentDBClient;

  beforeAll(async () => {
    server = await startEmbeddedEventStore({ folder });
    client = KurrentDBClient.connectionString(server.connectionString);
  });
  afterAll(async () => {
    await client.dispose();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('the official client says so, and goes on', async () => {
    const settings = persistentSubscriptionToStreamSettingsFromDefaults();
    const event = events(1)[0]!;
    await client.appendToStream('run', event);
    const calls: [what: string, call: () => Promise<unknown>][] = [
      ['PersistentSubscriptions/Create', () => client.createPersistentSubscriptionToStream('run', 'group', settings)],
      ['PersistentSubscriptions/Read', () => collect(client.subscribeToPersistentSubscriptionToStream('run', 'group'))],
      ['Projections/Statistics', () => client.listProjections()],
      ['Streams/Delete', () => client.deleteStream('run')],
      ['Streams/Tombstone', () => client.tombstoneStream('run')],
      ['the access control list', () => client.setStreamMetadata('run', { acl: { readRoles: ['ops'] } })],
      [
        'the access control list',
        () => client.setStreamMetadata('run', { acl: { readRoles: ['ops'] } }, { credentials: { username: 'admin', password: '' } }),
      ],
    ];
    for (const [what, call] of calls) {
      await expect(call()).rejects.toThrow(new RegExp(`the embedded event store does not have .*${what}.*; a KurrentDB does`));
    }
    // For a read the client throws an error of its own, without the server's message.
    await expect(collect(client.readStream('run', { resolveLinkTos: true }))).rejects.toThrow('unsupported by the server');
    await expect(collect(client.readAll({ filter: streamNameFilter({ regex: '(a+)+$' }) }))).rejects.toThrow('unsupported by the server');
    const severalStreams = client.multiStreamAppend([{ streamName: 'run', events: [event], expectedState: 'any' }]);
    await expect(severalStreams).rejects.toBeInstanceOf(UnsupportedError);
    await expect(client.appendRecords([{ streamName: 'run', record: event }])).rejects.toBeInstanceOf(UnsupportedError);
    await client.appendToStream('run', events(1));
    expect(await collect(client.readStream('run'))).toHaveLength(2);
  });
});

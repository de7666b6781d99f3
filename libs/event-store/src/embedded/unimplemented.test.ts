import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KurrentDBClient, persistentSubscriptionToStreamSettingsFromDefaults, UnsupportedError } from '@kurrent/kurrentdb-client';
import { collect, events } from '../contract/target.js';
import { startEmbeddedEventStore, type EmbeddedEventStore } from '../index.js';

/** Calls that only a real KurrentDB answers. */
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
    await expect(client.createPersistentSubscriptionToStream('run', 'group', settings)).rejects.toThrow(
      /UNIMPLEMENTED: .*PersistentSubscriptions\/Create/,
    );
    await expect(collect(client.subscribeToPersistentSubscriptionToStream('run', 'group'))).rejects.toThrow(
      /UNIMPLEMENTED: .*PersistentSubscriptions\/Read/,
    );
    const severalStreams = client.multiStreamAppend([{ streamName: 'run', events: [event], expectedState: 'any' }]);
    await expect(severalStreams).rejects.toBeInstanceOf(UnsupportedError);
    await expect(client.appendRecords([{ streamName: 'run', record: event }])).rejects.toBeInstanceOf(UnsupportedError);
    await client.appendToStream('run', event);
    expect(await collect(client.readStream('run'))).toHaveLength(1);
  });
});

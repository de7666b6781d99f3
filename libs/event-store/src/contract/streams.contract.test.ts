import {
  BACKWARDS,
  DeadlineExceededError,
  END,
  eventTypeFilter,
  excludeSystemEvents,
  jsonEvent,
  StreamNotFoundError,
  streamNameFilter,
  WrongExpectedVersionError,
  type KurrentDBClient,
} from '@kurrent/kurrentdb-client';
import { collect, events, eventually, startTarget, uniqueName, type Target } from './tested-server.js';

/** Tests calls of the official client beyond those that `KurrentEventStore` uses. */
describe('streams protocol', () => {
  let target: Target;
  let client: KurrentDBClient;

  beforeAll(async () => {
    target = await startTarget();
    client = target.client();
  });
  afterAll(async () => target.stop());

  const revisionsOf = async (stream: string) => (await collect(client.readStream(stream))).map(({ event }) => Number(event!.revision));

  describe('metadata', () => {
    test('maxCount and truncateBefore hide events from reads and subscriptions', async () => {
      const stream = uniqueName('limits');
      await client.appendToStream(stream, events(10));
      await client.setStreamMetadata(stream, { maxCount: 4 });
      expect(await revisionsOf(stream)).toEqual([6, 7, 8, 9]);
      await client.setStreamMetadata(stream, { maxCount: 4, truncateBefore: 8 });
      expect(await revisionsOf(stream)).toEqual([8, 9]);
      const backwards = await collect(client.readStream(stream, { direction: BACKWARDS, fromRevision: END }));
      expect(backwards.map(({ event }) => Number(event!.revision))).toEqual([9, 8]);
      const seen: number[] = [];
      for await (const { event } of client.subscribeToStream(stream)) {
        seen.push(Number(event!.revision));
        if (seen.length === 2) break;
      }
      expect(seen).toEqual([8, 9]);
    });

    test('maxAge hides what is older', async () => {
      const stream = uniqueName('age');
      await client.setStreamMetadata(stream, { maxAge: 1 });
      await client.appendToStream(stream, events(1));
      expect(await revisionsOf(stream)).toEqual([0]);
      await eventually(async () => (await revisionsOf(stream)).length === 0);
      await client.appendToStream(stream, events(1));
      expect(await revisionsOf(stream)).toEqual([1]);
    });

    test('metadata is written with an expected revision and only its last value counts', async () => {
      const stream = uniqueName('meta');
      expect(await client.getStreamMetadata(stream)).toEqual({ streamName: stream });
      const metadata = (maxCount: number) => jsonEvent({ type: '$metadata', data: { $maxCount: maxCount } });
      await client.appendToStream(`$$${stream}`, metadata(1), { streamState: 'no_stream' });
      await expect(client.appendToStream(`$$${stream}`, metadata(2), { streamState: 'no_stream' })).rejects.toBeInstanceOf(
        WrongExpectedVersionError,
      );
      await client.setStreamMetadata(stream, { maxCount: 3, note: '🌳' });
      expect((await client.getStreamMetadata(stream)).metadata).toEqual({ maxCount: 3, note: '🌳' });
      expect(await collect(client.readStream(`$$${stream}`))).toHaveLength(1);
    });
  });

  describe('reads of all streams', () => {
    test('filters by prefixes of types and of streams, and without system events', async () => {
      const name = uniqueName('filter').replaceAll('-', '_');
      await client.appendToStream(`${name}_a`, [...events(2, `${name}_x`), ...events(1, 'other')]);
      await client.appendToStream(`${name}_b`, events(3, `${name}_y`));
      const count = async (filter: Parameters<KurrentDBClient['readAll']>[0]) => (await collect(client.readAll(filter))).length;
      expect(await count({ filter: streamNameFilter({ prefixes: [`${name}_a`] }) })).toBe(3);
      expect(await count({ filter: streamNameFilter({ prefixes: [`${name}_a`, `${name}_b`] }) })).toBe(6);
      expect(await count({ filter: eventTypeFilter({ prefixes: [`${name}_`] }) })).toBe(5);
      expect(await count({ filter: eventTypeFilter({ prefixes: [`${name}_`] }), maxCount: 2 })).toBe(2);
      await client.setStreamMetadata(`${name}_a`, { note: 'an event of the store itself' });
      const types = (await collect(client.readAll({ filter: excludeSystemEvents() }))).map(({ event }) => event!.type);
      expect(types).toEqual(expect.arrayContaining([`${name}_x`, `${name}_y`]));
      expect(types.filter((type) => type.startsWith('$'))).toEqual([]);
    });

    test('truncation of a stream does not take events from the order of all', async () => {
      const stream = uniqueName('truncated');
      await client.appendToStream(stream, events(5));
      await client.setStreamMetadata(stream, { truncateBefore: 3 });
      expect(await collect(client.readAll({ filter: streamNameFilter({ prefixes: [stream] }) }))).toHaveLength(5);
    });

    test('checkpoints come every so many events and when the end is reached', async () => {
      const prefix = uniqueName('checkpoints');
      const { position } = await client.appendToStream(`${prefix}-0`, events(1));
      await client.appendToStream(`${prefix}-1`, events(200));
      const checkpoints: bigint[] = [];
      const subscription = client.subscribeToAll({
        fromPosition: position!,
        filter: streamNameFilter({
          prefixes: [prefix],
          checkpointInterval: 2,
          checkpointReached: async (_subscription, reached) => void checkpoints.push(reached.commit),
        }),
      });
      let received = 0;
      await new Promise((resolve, reject) => {
        subscription
          .on('data', () => (received += 1))
          .on('caughtUp', resolve)
          .on('error', reject);
      });
      await subscription.unsubscribe();
      expect(received).toBe(200);
      expect(checkpoints.length).toBeGreaterThanOrEqual(3);
      expect(checkpoints).toEqual([...checkpoints].sort((a, b) => Number(a - b)));
    });
  });

  describe('appends', () => {
    test('an append that spans several messages is one append', async () => {
      const stream = uniqueName('parts');
      const { nextExpectedRevision } = await client.appendToStream(stream, events(500), { batchAppendSize: 1024 });
      expect(nextExpectedRevision).toBe(499n);
    });

    test('an append past its deadline writes nothing', async () => {
      const stream = uniqueName('deadline');
      await expect(client.appendToStream(stream, events(20_000), { deadline: 1 })).rejects.toBeInstanceOf(DeadlineExceededError);
      await expect(collect(client.readStream(stream))).rejects.toBeInstanceOf(StreamNotFoundError);
    });

    test('the classic append behaves as the batched one', async () => {
      const credentials = { username: 'admin', password: 'changeit' };
      const stream = uniqueName('classic');
      const written = await client.appendToStream(stream, events(2), { credentials, streamState: 'no_stream' });
      expect(written.nextExpectedRevision).toBe(1n);
      const refused = client.appendToStream(stream, events(2), { credentials, streamState: 'no_stream' });
      await expect(refused).rejects.toMatchObject({ expectedState: 'no_stream', actualState: 1n });
    });
  });
});

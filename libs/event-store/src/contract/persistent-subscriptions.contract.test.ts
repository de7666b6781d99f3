import {
  DISPATCH_TO_SINGLE,
  jsonEvent,
  PARK,
  PersistentSubscriptionDoesNotExistError,
  PersistentSubscriptionDroppedError,
  PersistentSubscriptionExistsError,
  PersistentSubscriptionMaximumSubscribersReachedError,
  persistentSubscriptionToAllSettingsFromDefaults,
  persistentSubscriptionToStreamSettingsFromDefaults,
  PINNED,
  PINNED_BY_CORRELATION,
  RETRY,
  ROUND_ROBIN,
  SKIP,
  STOP,
  streamNameFilter,
  type KurrentDBClient,
} from '@kurrent/kurrentdb-client';
import { events, eventually, startTarget, uniqueName, type Target } from './target.js';

const streamSettings = persistentSubscriptionToStreamSettingsFromDefaults;
const allSettings = persistentSubscriptionToAllSettingsFromDefaults;

describe('persistent subscriptions', () => {
  let target: Target;
  let client: KurrentDBClient;

  beforeAll(async () => {
    target = await startTarget();
    client = target.client();
  });
  afterAll(async () => target.stop());

  async function group(settings: Parameters<typeof streamSettings>[0] = {}, count = 0) {
    const [stream, name] = [uniqueName('ps'), uniqueName('group')];
    if (count > 0) await client.appendToStream(stream, events(count));
    await client.createPersistentSubscriptionToStream(stream, name, streamSettings({ startFrom: 'start', ...settings }));
    return { stream, name };
  }

  /** Collects revisions; each message is acknowledged. */
  async function receive(stream: string, name: string, count: number): Promise<number[]> {
    const revisions: number[] = [];
    const subscription = client.subscribeToPersistentSubscriptionToStream(stream, name);
    for await (const resolved of subscription) {
      revisions.push(Number(resolved.event!.revision));
      await subscription.ack(resolved);
      if (revisions.length === count) break;
    }
    // Leaving cancels the call, and with it an answer that is still on its way.
    await new Promise((resolve) => setTimeout(resolve, 50));
    await subscription.unsubscribe();
    return revisions;
  }

  test('deliver from the start, from a revision and from the end', async () => {
    const start = await group({}, 3);
    expect(await receive(start.stream, start.name, 3)).toEqual([0, 1, 2]);
    const middle = await group({ startFrom: 1n }, 3);
    expect(await receive(middle.stream, middle.name, 2)).toEqual([1, 2]);
    const end = await group({ startFrom: 'end' }, 3);
    await client.appendToStream(end.stream, events(2));
    expect(await receive(end.stream, end.name, 2)).toEqual([3, 4]);
  });

  test('go on after the checkpoint, also after a restart of the subsystem', async () => {
    const { stream, name } = await group({ checkPointLowerBound: 1, checkPointUpperBound: 1 }, 6);
    expect(await receive(stream, name, 4)).toEqual([0, 1, 2, 3]);
    await eventually(async () => {
      const { stats } = await client.getPersistentSubscriptionToStreamInfo(stream, name);
      return stats.lastCheckpointedEventRevision === 3n;
    });
    await client.restartPersistentSubscriptionSubsystem();
    expect(await receive(stream, name, 2)).toEqual([4, 5]);
  });

  test('count retries, skip, and park what is retried too often', async () => {
    const { stream, name } = await group({ maxRetryCount: 2 });
    await client.appendToStream(stream, [...events(1, 'skip'), ...events(1, 'retry'), ...events(1, 'last')]);
    const seen: string[] = [];
    const subscription = client.subscribeToPersistentSubscriptionToStream(stream, name);
    for await (const resolved of subscription) {
      const { type } = resolved.event!;
      seen.push(`${type}:${resolved.retryCount}`);
      if (type === 'last') await subscription.ack(resolved);
      else await subscription.nack(type === 'skip' ? SKIP : RETRY, 'test', resolved);
      if (seen.length === 5) break;
    }
    expect(seen.sort()).toEqual(['last:0', 'retry:0', 'retry:1', 'retry:2', 'skip:0']);
    await eventually(async () => {
      const { stats } = await client.getPersistentSubscriptionToStreamInfo(stream, name);
      return stats.parkedMessageCount === 1n;
    });
  });

  test('replay parked messages, up to a place when asked', async () => {
    const { stream, name } = await group({}, 6);
    const subscription = client.subscribeToPersistentSubscriptionToStream(stream, name);
    const replayed: number[] = [];
    const parkedCount = async () => Number((await client.getPersistentSubscriptionToStreamInfo(stream, name)).stats.parkedMessageCount);
    let parking = true;
    subscription.on('data', (resolved) => {
      if (parking) return void subscription.nack(PARK, 'test', resolved);
      replayed.push(Number(resolved.event!.revision));
      void subscription.ack(resolved);
    });
    await eventually(async () => (await parkedCount()) === 6);
    parking = false;
    await client.replayParkedMessagesToStream(stream, name, { stopAt: 2 });
    await eventually(() => replayed.length === 2);
    expect(await parkedCount()).toBe(4);
    await client.replayParkedMessagesToStream(stream, name);
    await eventually(() => replayed.length === 6);
    expect([...replayed].sort()).toEqual([0, 1, 2, 3, 4, 5]);
    await subscription.unsubscribe();
  });

  test('deliver again what is not answered in time', async () => {
    const { stream, name } = await group({ messageTimeout: 200 }, 1);
    const subscription = client.subscribeToPersistentSubscriptionToStream(stream, name);
    const retryCounts: number[] = [];
    for await (const resolved of subscription) {
      retryCounts.push(resolved.retryCount);
      if (retryCounts.length === 2) {
        await subscription.ack(resolved);
        break;
      }
    }
    expect(retryCounts).toEqual([0, 1]);
  });

  test('give the messages of a consumer that left to another', async () => {
    const { stream, name } = await group({}, 3);
    const first = client.subscribeToPersistentSubscriptionToStream(stream, name);
    await new Promise((resolve) => first.once('data', resolve));
    await first.unsubscribe();
    expect((await receive(stream, name, 3)).sort()).toEqual([0, 1, 2]);
  });

  test('stop ends the call of the one who asks and keeps its messages', async () => {
    const { stream, name } = await group({}, 2);
    const subscription = client.subscribeToPersistentSubscriptionToStream(stream, name);
    const dropped = new Promise((resolve) => subscription.once('error', resolve));
    subscription.once('data', (resolved) => void subscription.nack(STOP, 'test', resolved));
    expect(await dropped).toBeInstanceOf(PersistentSubscriptionDroppedError);
    expect((await receive(stream, name, 2)).sort()).toEqual([0, 1]);
  });

  test.each([ROUND_ROBIN, DISPATCH_TO_SINGLE, PINNED, PINNED_BY_CORRELATION])('share messages by %s', async (strategy) => {
    const [prefix, name] = [uniqueName('shared'), uniqueName('group')];
    for (let index = 0; index < 24; index += 1) {
      const metadata = { $correlationId: `c${index % 4}` };
      await client.appendToStream(`${prefix}-${index % 8}`, jsonEvent({ type: 'Shared', data: { index }, metadata }));
    }
    const settings = allSettings({ startFrom: 'start', consumerStrategyName: strategy });
    await client.createPersistentSubscriptionToAll(name, settings, { filter: streamNameFilter({ prefixes: [prefix] }) });
    const received: string[][] = [[], []];
    // The first consumer only answers once the second is there, or it would do all the work alone.
    let bothAreThere!: () => void;
    const both = new Promise<void>((resolve) => (bothAreThere = resolve));
    let there = 0;
    const subscriptions = received.map((keys) => {
      const subscription = target.client().subscribeToPersistentSubscriptionToAll(name, { bufferSize: 4 });
      subscription.once('confirmation', () => {
        if ((there += 1) === 2) bothAreThere();
      });
      subscription.on('data', (resolved) => {
        const { streamId, metadata } = resolved.event!;
        keys.push(strategy === PINNED ? streamId : (metadata as { $correlationId: string }).$correlationId);
        void both.then(() => subscription.ack(resolved));
      });
      return subscription;
    });
    await eventually(() => received[0]!.length + received[1]!.length === 24);
    const shared = received[0]!.filter((key) => received[1]!.includes(key));
    if (strategy === PINNED || strategy === PINNED_BY_CORRELATION) expect(shared.length).toBeLessThan(24);
    if (strategy === ROUND_ROBIN) expect(Math.min(received[0]!.length, received[1]!.length)).toBeGreaterThan(0);
    for (const subscription of subscriptions) await subscription.unsubscribe();
    await client.deletePersistentSubscriptionToAll(name);
  });

  test('report settings, connections and statistics', async () => {
    const settings = streamSettings({ startFrom: 2n, extraStatistics: true, maxSubscriberCount: 3, maxRetryCount: 7 });
    const { stream, name } = await group(settings, 5);
    const before = await client.getPersistentSubscriptionToStreamInfo(stream, name);
    expect(before).toMatchObject({ eventSource: stream, groupName: name, settings, connections: [] });
    expect(before.stats.lastKnownEventRevision).toBe(4n);
    const subscription = client.subscribeToPersistentSubscriptionToStream(stream, name);
    subscription.on('data', (resolved) => void subscription.ack(resolved));
    await eventually(async () => {
      const { stats } = await client.getPersistentSubscriptionToStreamInfo(stream, name);
      return stats.totalItems === 3n && stats.totalInFlightMessages === 0;
    });
    const [connection] = (await client.getPersistentSubscriptionToStreamInfo(stream, name)).connections;
    expect(connection!.connectionName).toBe(client.connectionName);
    expect(connection!.extraStatistics!.get('quintile 3')).toBeDefined();
    await subscription.unsubscribe();
    const listed = await client.listPersistentSubscriptionsToStream(stream);
    expect(listed.map(({ groupName }) => groupName)).toEqual([name]);
    expect((await client.listAllPersistentSubscriptions()).map(({ groupName }) => groupName)).toContain(name);
  });

  test('an update drops who is connected and holds from then on', async () => {
    const { stream, name } = await group({}, 1);
    const subscription = client.subscribeToPersistentSubscriptionToStream(stream, name);
    const dropped = new Promise((resolve) => subscription.once('error', resolve));
    await new Promise((resolve) => subscription.once('data', resolve));
    const settings = streamSettings({ startFrom: 'start', maxSubscriberCount: 1, consumerStrategyName: PINNED });
    await client.updatePersistentSubscriptionToStream(stream, name, settings);
    expect(await dropped).toBeInstanceOf(PersistentSubscriptionDroppedError);
    expect((await client.getPersistentSubscriptionToStreamInfo(stream, name)).settings).toEqual(settings);
    const only = client.subscribeToPersistentSubscriptionToStream(stream, name);
    await new Promise((resolve) => only.once('data', resolve));
    const refused = client.subscribeToPersistentSubscriptionToStream(stream, name);
    const error = await new Promise((resolve) => refused.once('error', resolve));
    expect(error).toBeInstanceOf(PersistentSubscriptionMaximumSubscribersReachedError);
    await only.unsubscribe();
  });

  test('what changes about a group is an event: from the end of all events, a group is told of its own creation', async () => {
    const name = uniqueName('group');
    await client.createPersistentSubscriptionToAll(name, allSettings({ startFrom: 'end' }));
    let told = 0;
    const subscription = client.subscribeToPersistentSubscriptionToAll(name);
    subscription.on('data', (resolved) => {
      const { streamId, type } = resolved.event!;
      if (streamId === '$persistentSubscriptionConfig' && type === '$PersistentConfig') told += 1;
      void subscription.ack(resolved);
    });
    await eventually(() => told === 1);
    await client.createPersistentSubscriptionToStream(name, name, streamSettings());
    await client.updatePersistentSubscriptionToStream(name, name, streamSettings({ maxRetryCount: 3 }));
    await client.deletePersistentSubscriptionToStream(name, name);
    await eventually(() => told === 4);
    await subscription.unsubscribe();
    await client.deletePersistentSubscriptionToAll(name);
  });

  test('name what does not exist or exists already, in unicode too', async () => {
    const [stream, name] = ['幹', '🌳 group'].map(uniqueName) as [string, string];
    const missing = client.getPersistentSubscriptionToStreamInfo(stream, name);
    await expect(missing).rejects.toBeInstanceOf(PersistentSubscriptionDoesNotExistError);
    await expect(missing).rejects.toThrow(`Subscription group ${name} on stream ${stream} does not exist.`);
    await client.createPersistentSubscriptionToStream(stream, name, streamSettings());
    await expect(client.createPersistentSubscriptionToStream(stream, name, streamSettings())).rejects.toBeInstanceOf(
      PersistentSubscriptionExistsError,
    );
    await client.deletePersistentSubscriptionToStream(stream, name);
    await expect(client.deletePersistentSubscriptionToStream(stream, name)).rejects.toBeInstanceOf(PersistentSubscriptionDoesNotExistError);
  });
});

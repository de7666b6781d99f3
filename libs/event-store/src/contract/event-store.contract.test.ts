import { randomUUID } from 'node:crypto';
import { connectEventStore, WrongExpectedRevisionError, type EventStore, type SubscriptionItem } from '../index.js';
import { collect, newEvents, startTarget, take, uniqueName, type Target } from './tested-server.js';

test('what is not a connection string is refused by name', () => {
  expect(() => connectEventStore({ connectionString: 'bogus://x' })).toThrow(
    expect.objectContaining({ code: 'EVENT_STORE_ADDRESS_INVALID' }) as Error,
  );
});

describe('event store', () => {
  let target: Target;
  let store: EventStore;

  beforeAll(async () => {
    target = await startTarget();
    store = connectEventStore(target);
  });
  afterAll(async () => {
    await store.close();
    await target.stop();
  });

  test('answers a ping', async () => {
    await expect(store.ping()).resolves.toBeUndefined();
  });

  test('returns the bytes of an event as they were appended', async () => {
    const stream = uniqueName('bytes');
    const data = Buffer.from('{ "b": 1.0,\n "a": 1e400, "ü": "\\u00e4" }');
    await store.append(stream, [{ id: randomUUID(), type: 'Bytes', data, metadata: Buffer.from('{"by":"x"}') }], 'no_stream');
    const [event] = await collect(store.read(stream));
    expect(Buffer.from(event!.data).equals(data)).toBe(true);
    expect(JSON.parse(Buffer.from(event!.metadata).toString())).toEqual({ by: 'x' });
    expect(Math.abs(event!.createdAt.getTime() - Date.now())).toBeLessThan(60_000);
  });

  test('keeps events without metadata and without data', async () => {
    const stream = uniqueName('empty');
    await store.append(stream, [{ id: randomUUID(), type: 'Empty', data: new Uint8Array() }], 'any');
    const [event] = await collect(store.read(stream));
    expect([event!.data.length, event!.metadata.length]).toEqual([0, 0]);
  });

  test('refuses an append to another revision and says which it is', async () => {
    const stream = uniqueName('expected');
    expect(await store.append(stream, newEvents(2), 'no_stream')).toMatchObject({ revision: 1n });
    const refused = store.append(stream, newEvents(1), 5n);
    await expect(refused).rejects.toBeInstanceOf(WrongExpectedRevisionError);
    await expect(refused).rejects.toMatchObject({ code: 'WRONG_EXPECTED_REVISION', stream, expected: 5n, actual: 1n });
    await expect(store.append(uniqueName('none'), newEvents(1), 'stream_exists')).rejects.toMatchObject({
      actual: 'no_stream',
    });
    expect(await store.append(stream, newEvents(1), 1n)).toMatchObject({ revision: 2n });
    expect(await store.append(stream, newEvents(1), 'stream_exists')).toMatchObject({ revision: 3n });
  });

  test('shows the newest events only of a stream that is to keep no more', async () => {
    const stream = uniqueName('newest');
    await store.append(stream, newEvents(5), 'no_stream');
    await store.keepNewest(stream, 2);
    expect((await collect(store.read(stream))).map(({ revision }) => revision)).toEqual([3n, 4n]);
    expect(await store.append(stream, newEvents(1), 4n)).toMatchObject({ revision: 5n });
    expect((await collect(store.read(stream))).map(({ revision }) => revision)).toEqual([4n, 5n]);
  });

  test.each(['any', 'no_stream'] as const)('stores a repeated append once (%s)', async (expected) => {
    const stream = uniqueName('retry');
    const batch = newEvents(3);
    const first = await store.append(stream, batch, expected);
    await store.append(stream, newEvents(1), 'any');
    expect(await store.append(stream, batch, expected)).toEqual(first);
    expect(await collect(store.read(stream))).toHaveLength(4);
  });

  test('takes appends from many writers at once without losing or mixing any', async () => {
    const stream = uniqueName('writers');
    await Promise.all(Array.from({ length: 50 }, () => store.append(stream, newEvents(2), 'any')));
    const revisions = (await collect(store.read(stream))).map(({ revision }) => Number(revision));
    expect(revisions).toEqual(Array.from({ length: 100 }, (_, index) => index));
  });

  test('lets one of two writers at the same revision win', async () => {
    const stream = uniqueName('race');
    await store.append(stream, newEvents(1), 'no_stream');
    const results = await Promise.allSettled([store.append(stream, newEvents(1), 0n), store.append(stream, newEvents(1), 0n)]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  });

  test('reads forwards and backwards from any place', async () => {
    const stream = uniqueName('read');
    await store.append(stream, newEvents(10), 'no_stream');
    const revisions = async (options: Parameters<EventStore['read']>[1]) =>
      (await collect(store.read(stream, options))).map(({ revision }) => Number(revision));
    expect(await revisions({})).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(await revisions({ from: 7n })).toEqual([7, 8, 9]);
    expect(await revisions({ from: 2n, maxCount: 3 })).toEqual([2, 3, 4]);
    expect(await revisions({ direction: 'backwards', maxCount: 2 })).toEqual([9, 8]);
    expect(await revisions({ direction: 'backwards', from: 1n })).toEqual([1, 0]);
    expect(await revisions({ from: 10n })).toEqual([]);
    expect(await collect(store.read(uniqueName('missing')))).toEqual([]);
  });

  test('reads all streams of a prefix in the order of the appends', async () => {
    const prefix = uniqueName('all');
    for (let index = 0; index < 6; index += 1) await store.append(`${prefix}-${index % 2}`, newEvents(1), 'any');
    await store.append(uniqueName('other'), newEvents(1), 'any');
    const options = { streamPrefixes: [`${prefix}-`] };
    const all = await collect(store.readAll(options));
    expect(all.map(({ stream, revision }) => `${stream.slice(prefix.length)}@${revision}`)).toEqual([
      '-0@0',
      '-1@0',
      '-0@1',
      '-1@1',
      '-0@2',
      '-1@2',
    ]);
    const ids = (some: { id: string }[]) => some.map(({ id }) => id);
    expect(ids(await collect(store.readAll({ ...options, after: all[2]!.position })))).toEqual(ids(all.slice(3)));
    expect(ids(await collect(store.readAll({ ...options, after: all[2]!.position, maxCount: 2 })))).toEqual(ids(all.slice(3, 5)));
    const backwards = { ...options, direction: 'backwards' as const };
    expect(ids(await collect(store.readAll(backwards)))).toEqual(ids([...all].reverse()));
    expect(ids(await collect(store.readAll({ ...backwards, after: all[2]!.position })))).toEqual(ids([all[1]!, all[0]!]));
  });

  test('reads streams larger than one chunk whole', async () => {
    const stream = uniqueName('large');
    for (let index = 0; index < 3; index += 1) await store.append(stream, newEvents(700), 'any');
    const revisions = (await collect(store.read(stream))).map(({ revision }) => Number(revision));
    expect(revisions).toEqual(Array.from({ length: 2100 }, (_, index) => index));
  });

  test('a subscription to a stream delivers what is there, says so, and goes on live', async () => {
    const stream = uniqueName('subscribe');
    await store.append(stream, newEvents(3), 'any');
    const seen: string[] = [];
    for await (const item of store.subscribe(stream, { after: 0n })) {
      seen.push(labelOf(item));
      if (item.kind === 'caughtUp') await store.append(stream, newEvents(2), 'any');
      if (seen.at(-1) === '4') break;
    }
    expect(seen).toEqual(['1', '2', 'caughtUp', '3', '4']);
  });

  test('a subscription waits for a stream that does not exist yet', async () => {
    const stream = uniqueName('later');
    const subscription = store.subscribe(stream, { after: 'start' });
    const seen = take(subscription, 2);
    await store.append(stream, newEvents(1), 'any');
    expect((await seen).map(labelOf).sort()).toEqual(['0', 'caughtUp']);
  });

  test('a subscription from the end sees only what comes', async () => {
    const stream = uniqueName('end');
    await store.append(stream, newEvents(3), 'any');
    const subscription = store.subscribe(stream, { after: 'end' });
    const seen: string[] = [];
    for await (const item of subscription) {
      seen.push(labelOf(item));
      if (item.kind === 'caughtUp') await store.append(stream, newEvents(1), 'any');
      if (item.kind === 'event') break;
    }
    expect(seen).toEqual(['caughtUp', '3']);
  });

  test('a subscription to all streams of a prefix gives checkpoints behind the events', async () => {
    const prefix = uniqueName('suball');
    await store.append(`${prefix}-a`, newEvents(3), 'any');
    const seen: SubscriptionItem[] = [];
    for await (const item of store.subscribeAll({ after: 'start', streamPrefixes: [prefix] })) {
      seen.push(item);
      if (item.kind === 'caughtUp') break;
    }
    const positions = seen.flatMap((item) =>
      item.kind === 'event' ? [item.event.position.commit] : item.kind === 'checkpoint' ? [item.position.commit] : [],
    );
    expect(seen.filter(({ kind }) => kind === 'event')).toHaveLength(3);
    expect(seen.some(({ kind }) => kind === 'checkpoint')).toBe(true);
    expect(positions).toEqual([...positions].sort((a, b) => Number(a - b)));
  });

  test('closing a subscription ends its loop', async () => {
    const subscription = store.subscribe(uniqueName('close'), { after: 'start' });
    const done = collect(subscription);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await subscription.close();
    expect((await done).every(({ kind }) => kind === 'caughtUp')).toBe(true);
  });

  test('carries unicode in names, types and data', async () => {
    const stream = uniqueName('run-ß-走る-🌳');
    const data = Buffer.from('{"text":"空 🌳"}');
    await store.append(stream, [{ id: randomUUID(), type: 'Größe', data }], 'no_stream');
    const [event] = await collect(store.read(stream));
    expect([event!.stream, event!.type, Buffer.from(event!.data).toString()]).toEqual([stream, 'Größe', data.toString()]);
    await expect(store.append(stream, newEvents(1), 'no_stream')).rejects.toMatchObject({ stream });
  });
});

function labelOf(item: SubscriptionItem): string {
  return item.kind === 'event' ? String(item.event.revision) : item.kind;
}

// Tests readers of a store with damaged events. They get all other events in order, and the places of the damaged ones.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { newEvents } from '../contract/tested-server.js';
import {
  connectEventStore,
  endOf,
  EventCorruptError,
  readPastDamage,
  startEmbeddedEventStore,
  type EmbeddedEventStore,
  type EventStore,
  type StoredEvent,
  type SubscriptionItem,
} from '../index.js';

const COUNT = 300;
let folder: string;
let server: EmbeddedEventStore;
let store: EventStore;
let database: Database.Database;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'event-store-damage-'));
  server = await startEmbeddedEventStore({ folder });
  store = connectEventStore(server);
  // Events of two streams are mixed, so that positions in the store differ from revisions.
  const events = newEvents(COUNT);
  for (let at = 0; at < COUNT; at += 50) {
    await store.append('run-a', events.slice(at, at + 50), 'any');
    await store.append('run-b', newEvents(7), 'any');
  }
  await store.append('other', newEvents(3), 'any');
  database = new Database(join(folder, 'events.db'));
});
afterEach(mend);
afterAll(async () => {
  database.close();
  await store.close();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** The rows that a test damaged, as they were before. */
const whole: unknown[][] = [];

function spoil(stream: string, revision: number, change = "data = CAST(replace(CAST(data AS TEXT), 'index', 'indey') AS BLOB)"): void {
  const where = 'stream_id = (SELECT id FROM streams WHERE name = ?) AND revision = ?';
  const row = database.prepare(`SELECT * FROM events WHERE ${where}`).safeIntegers().raw().get(stream, revision) as unknown[];
  whole.push(row);
  expect(database.prepare(`UPDATE events SET ${change} WHERE ${where}`).run(stream, revision).changes).toBe(1);
}

/** Restores the damaged events, because all tests share one server. */
function mend(): void {
  for (const row of whole.splice(0)) {
    const [position, streamId, revision] = row as [bigint, bigint, bigint];
    // The damage may be in the position or in the revision.
    database.prepare('DELETE FROM events WHERE position IN (?, ? + 1) AND stream_id = ?').run(position, position, streamId);
    database.prepare('DELETE FROM events WHERE stream_id = ? AND revision = ?').run(streamId, revision);
    database.prepare('INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)').run(row);
  }
}

const told = (item: StoredEvent | EventCorruptError): string =>
  `${item instanceof EventCorruptError ? 'damaged ' : ''}${item.stream} ${item.revision}`;
async function all(items: AsyncIterable<StoredEvent | EventCorruptError>): Promise<string[]> {
  const found: string[] = [];
  for await (const item of items) found.push(told(item));
  return found;
}
const revisions = (...damaged: number[]): string[] =>
  Array.from({ length: COUNT }, (_, at) => `${damaged.includes(at) ? 'damaged ' : ''}run-a ${at}`);

test('a read brings everything before a damaged event, whatever its place, and then names it', async () => {
  for (const revision of [0, 1, 49, 137, COUNT - 1]) {
    spoil('run-a', revision);
    const found: string[] = [];
    const read = (async () => {
      for await (const event of store.read('run-a')) found.push(told(event));
    })();
    await expect(read).rejects.toMatchObject({ code: 'EVENT_CORRUPT', stream: 'run-a', revision: BigInt(revision) });
    await expect(read).rejects.toThrow(new RegExp(`^event ${revision} of stream 'run-a' at position \\d+ does not match its checksum`));
    expect(found).toEqual(revisions().slice(0, revision));
    mend();
  }
});

test('reading past damage gives all the others, forwards, backwards, from anywhere, as many as asked', async () => {
  const damaged = [0, 3, 4, 137, 250, COUNT - 1];
  damaged.forEach((revision) => spoil('run-a', revision));
  const expected = revisions(...damaged);
  expect(await all(readPastDamage(store, 'run-a'))).toEqual(expected);
  expect(await all(readPastDamage(store, 'run-a', { direction: 'backwards' }))).toEqual([...expected].reverse());
  expect(await all(readPastDamage(store, 'run-a', { from: 130n, maxCount: 20 }))).toEqual(expected.slice(130, 150));
  expect(await all(readPastDamage(store, 'run-a', { from: 4n, maxCount: 2, direction: 'backwards' }))).toEqual([
    'damaged run-a 4',
    'damaged run-a 3',
  ]);
  expect(await all(readPastDamage(store, 'nothing'))).toEqual([]);
});

async function until(items: AsyncIterable<SubscriptionItem>, last: string): Promise<string[]> {
  const found: string[] = [];
  for await (const item of items) {
    if (item.kind === 'event' || item.kind === 'damaged') found.push(told(item.kind === 'event' ? item.event : item.error));
    if (item.kind === 'caughtUp') found.push('caught up');
    if (found.at(-1) === last) return found;
  }
  throw new Error('the subscription ended');
}

test('who goes on after a damaged event in all streams does not meet it again, and the end is known', async () => {
  spoil('run-b', 10);
  const corrupt = await all(store.readAll()).then(
    () => undefined,
    (error: unknown) => error as EventCorruptError,
  );
  expect(corrupt).toMatchObject({ stream: 'run-b', revision: 10n });
  const after = await all(store.readAll({ after: corrupt!.position, streamPrefixes: ['run-'] }));
  expect(after[0]).toBe('run-b 11');
  expect(after.at(-1)).toBe('run-b 41');
  spoil('other', 2);
  expect(await endOf(store)).toMatchObject({ commit: expect.any(BigInt) as bigint });
  await expect(store.ping()).resolves.toBeUndefined();
});

test.each([
  "event_id = CAST(substr(event_id, 1, 15) || x'ff' AS BLOB)",
  "type = substr(type, 1, 5) || 'x'",
  'created_us = created_us + 65536',
  "data = 'text'",
  'data = 7',
  'position = position + 1',
  'checksum = checksum - 1',
  'revision = 7000',
  'revision = 100.5',
])('damage of %s hides no other event', async (change) => {
  spoil('run-a', 100, change);
  const found = await all(readPastDamage(store, 'run-a'));
  expect(found.filter((text) => !text.startsWith('damaged'))).toEqual(revisions().filter((_, at) => at !== 100));
  expect(found.filter((text) => text.startsWith('damaged'))).toHaveLength(1);
  const items = await until(store.subscribeAll({ after: 'start', streamPrefixes: ['run-a'] }), 'caught up');
  expect(items.filter((text) => text.startsWith('run-a'))).toEqual(revisions().filter((_, at) => at !== 100));
  expect(items.filter((text) => text.startsWith('damaged'))).toHaveLength(1);
});

// This test comes last, because it appends to a stream whose events the tests above count.
test('subscriptions tell of damaged events in their places and go on', async () => {
  const damaged = [0, 137, COUNT - 1];
  damaged.forEach((revision) => spoil('run-a', revision));
  spoil('run-b', 20);
  const expected = revisions(...damaged);
  expect(await until(store.subscribe('run-a', { after: 'start' }), 'caught up')).toEqual([...expected, 'caught up']);
  const both = await until(store.subscribeAll({ after: 'start', streamPrefixes: ['run-'] }), 'caught up');
  expect(both.filter((text) => text.includes('run-a'))).toEqual(expected);
  expect(both.filter((text) => text.includes('run-b')).map((text) => text.replace('damaged ', ''))).toEqual(
    Array.from({ length: 42 }, (_, at) => `run-b ${at}`),
  );
  expect(both).toContain('damaged run-b 20');

  // The end is known although the last event is damaged.
  const live = store.subscribe('run-a', { after: 'end' })[Symbol.asyncIterator]();
  expect((await live.next()).value).toEqual({ kind: 'caughtUp' });
  await store.append('run-a', newEvents(1), 'any');
  expect((await live.next()).value).toMatchObject({ kind: 'event', event: { revision: BigInt(COUNT) } });
  await live.return?.();
});

// Tests the memory of the newest event: what a killed process leaves, what a torn write leaves, and which losses of a store it detects.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EventStore, StoredEvent } from '../event-store.js';
import { EventCorruptError } from '../event-store.errors.js';
import { notingStore } from './seen-event-store.js';
import { lastSeenEvent, missingIn, missingText, SeenEvents, type SeenEvent } from './seen-events.js';

const NAME = 'a-store';
let folder: string;
let seen: SeenEvents;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'seen-events-'));
  seen = SeenEvents.open(folder, NAME);
});
afterEach(() => {
  seen.close();
  rmSync(folder, { recursive: true, force: true });
});
const event = (position: number, id: string | null = `id ${position}`): SeenEvent => ({
  position: BigInt(position),
  stream: 'run',
  revision: BigInt(position) / 100n,
  id,
});

test('the newest is in the file when note returns; older ones, and what is known already, change nothing', () => {
  expect(lastSeenEvent(folder, NAME)).toBeNull();
  expect(lastSeenEvent(folder, 'another-store')).toBeNull();
  for (const position of [100, 300, 200]) seen.note(event(position));
  expect(lastSeenEvent(folder, NAME)).toEqual(event(300));
  seen.note(event(400, null));
  expect(lastSeenEvent(folder, NAME)).toEqual(event(400, null));
  seen.note(event(400));
  seen.note(event(400, null));
  expect(lastSeenEvent(folder, NAME)).toEqual(event(400));
  const again = SeenEvents.open(folder, NAME);
  again.note(event(500));
  again.close();
  expect(lastSeenEvent(folder, NAME)).toEqual(event(500));
});

test('a torn write leaves the one before', () => {
  for (const position of [100, 200, 300]) seen.note(event(position));
  const file = join(folder, 'seen-events', NAME);
  const bytes = readFileSync(file);
  for (const at of [0, 512]) {
    const torn = Buffer.from(bytes);
    torn[at + 20]! ^= 1;
    writeFileSync(file, torn);
    const left = lastSeenEvent(folder, NAME)!.position;
    expect([200n, 300n]).toContain(left);
  }
  writeFileSync(file, bytes.subarray(0, 7));
  expect(lastSeenEvent(folder, NAME)).toBeNull();
});

/** A store of one stream. Reading it can fail with the given error. */
function storeOf(events: SeenEvent[], failure?: Error): EventStore {
  const stored = events.map(({ position, stream, revision, id }) => {
    return { id: id!, stream, revision, position: { commit: position, prepare: position } } as StoredEvent;
  });
  async function* read(from: bigint): AsyncGenerator<StoredEvent> {
    await Promise.resolve();
    if (failure !== undefined) throw failure;
    yield* stored.filter(({ revision }) => revision >= from).slice(0, 1);
  }
  async function* readAll(): AsyncGenerator<StoredEvent> {
    await Promise.resolve();
    yield* stored.slice(-1);
  }
  return { read: (_stream: string, { from }: { from: bigint }) => read(from), readAll } as unknown as EventStore;
}

test('a store that ends before it, or has another event there, is told; one that is damaged there is not missing it', async () => {
  const known = event(300);
  expect(await missingIn(storeOf([event(200), known, event(400)]), known)).toBeNull();
  expect(await missingIn(storeOf([event(200), event(300, 'another')]), event(300, null))).toBeNull();
  const behind = await missingIn(storeOf([event(100), event(200)]), known);
  expect(missingText(behind!)).toBe(
    'events are missing: the data folder has seen position 300 (revision 3 of stream run), the event store ends at 200',
  );
  const other = await missingIn(storeOf([event(200), { ...event(300, 'another') }, event(400)]), known);
  expect(missingText(other!)).toMatch(/ends at 400, and holds other events in that place$/);
  expect(missingText((await missingIn(storeOf([]), known))!)).toMatch(/ends at 0$/);
  const damage = new EventCorruptError('run', 3n, { commit: 300n, prepare: 300n }, 'damaged');
  expect(await missingIn(storeOf([], damage), known)).toBeNull();
});

test('appends are noted before the caller hears of them, with an id where it is certain; events of others as they are told', async () => {
  const noted: SeenEvent[] = [];
  const answer = { revision: 4n, position: { commit: 70n, prepare: 70n } };
  const told = { id: 'theirs', stream: 'run', revision: 5n, position: { commit: 90n, prepare: 90n } } as StoredEvent;
  const plain = {
    append: () => Promise.resolve(answer),
    subscribeAll: () => ({
      close: () => Promise.resolve(),
      async *[Symbol.asyncIterator]() {
        await Promise.resolve();
        yield { kind: 'event', event: told };
        yield { kind: 'event', event: { ...told, stream: 'lease' } };
        yield { kind: 'caughtUp' };
      },
    }),
  } as unknown as EventStore;
  const store = notingStore(plain, { note: (one) => noted.push(one) }, new Set(['lease']));
  const events = ['a', 'b'].map((id) => ({ id, type: 'Happened', data: Buffer.alloc(0) }));
  await store.append('run', events, 2n);
  await store.append('run', events, 'any');
  await store.append('lease', events, 2n);
  await store.append('run', [], 4n);
  for await (const _ of store.subscribeAll({ after: 'start' }));
  const at = { position: 70n, stream: 'run', revision: 4n };
  expect(noted).toEqual([
    { ...at, id: 'b' },
    { ...at, id: null },
    { position: 90n, stream: 'run', revision: 5n, id: 'theirs' },
  ]);
});

test('while a long history is caught up with, a few events are noted, and always the last', async () => {
  const history = Array.from({ length: 1_000 }, (_, at) => ({
    stream: 'run',
    revision: BigInt(at),
    position: { commit: BigInt(at + 1), prepare: 0n },
  }));
  const noted: bigint[] = [];
  const plain = {
    subscribeAll: () => ({
      close: () => Promise.resolve(),
      async *[Symbol.asyncIterator]() {
        await Promise.resolve();
        for (const event of history.slice(0, -2)) yield { kind: 'event', event };
        yield { kind: 'caughtUp' };
        for (const event of history.slice(-2)) yield { kind: 'event', event };
      },
    }),
  } as unknown as EventStore;
  const store = notingStore(plain, { note: ({ position }) => noted.push(position) }, new Set());
  for await (const _ of store.subscribeAll({ after: 'start' }));
  expect(noted.slice(-3)).toEqual([998n, 999n, 1_000n]);
  expect(noted.length).toBeLessThan(10);
  noted.length = 0;
  // A reader that leaves early has seen the events that it took.
  for await (const item of store.subscribeAll({ after: 'start' })) if (item.kind === 'event' && item.event.revision === 6n) break;
  expect(noted).toEqual([7n]);
});

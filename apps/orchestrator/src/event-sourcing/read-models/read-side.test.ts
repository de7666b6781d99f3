// Tests the feed and the views on a real event store, with an aggregate that has nothing to do with runs.
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import {
  connectEventStore,
  EventCorruptError,
  startEmbeddedEventStore,
  type EmbeddedEventStore,
  type EventStore,
  type StoredEvent,
} from '#event-store';
import { AggregateFeed } from '../aggregate-feed.js';
import { AggregateRepository } from '../aggregate-repository.js';
import { BY_SERVER } from '../call-context.js';
import { Projection, type RecordItem } from './projection.js';
import { shelf, type BookPlaced, type Shelf } from '../testing.js';
import { Views } from './views.js';
import { readPosition, removeViewsFile, ViewsDamagedError } from './views-file.js';
import { addSums, type ViewsTable } from './views-tables.js';

const by = BY_SERVER;
const quiet = { error: () => undefined } as never;
const BOOKS: ViewsTable[] = [
  {
    name: 'books',
    columns: ['shelf TEXT NOT NULL', 'place INTEGER NOT NULL', 'title TEXT NOT NULL'],
    constraints: 'PRIMARY KEY (shelf, place)',
  },
];

class BookProjection extends Projection {
  readonly streamPrefixes = [shelf.streamPrefix];
  private changed = new Set<string>();

  protected override applyOne(item: RecordItem): void {
    if (item instanceof EventCorruptError) return;
    const event = shelf.decode(item);
    const id = item.stream.slice(shelf.streamPrefix.length);
    if (event.type === 'Unknown') return;
    this.database.prepare('INSERT OR REPLACE INTO books_rows VALUES (?, ?, ?)').run(id, Number(item.revision), event.data.title);
    this.changed.add(id);
  }
  protected override save(): Set<string> {
    const { changed } = this;
    this.changed = new Set();
    return changed;
  }
  protected override forget(): void {
    this.changed = new Set();
  }
  override hasPassed(): boolean {
    return true;
  }
}

class BookViews extends Views {
  protected override revisionOf(id: string): number | null {
    return this.database.prepare<[string], number | null>('SELECT max(place) FROM books WHERE shelf = ?').pluck().get(id) ?? null;
  }
  titles(): string[] {
    return this.database.prepare<[], string>('SELECT title FROM books ORDER BY shelf, place').pluck().all();
  }
}

let folder: string;
let server: EmbeddedEventStore;
let store: EventStore;
let shelves: AggregateRepository<Shelf, { title: string }, BookPlaced>;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'read-side-'));
  server = await startEmbeddedEventStore({ folder: join(folder, 'store') });
  store = connectEventStore(server);
  shelves = new AggregateRepository(store, shelf);
});
afterEach(async () => {
  await store.close();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

const place = async (id: string, ...titles: string[]): Promise<void> => {
  for (const title of titles) await shelves.change(id, { title }, { by });
};
const viewsOn = (version = 1, onError?: (error: unknown) => void, onReadAgain?: (because: string) => void): BookViews =>
  new BookViews({
    store,
    file: join(folder, 'books.sqlite'),
    schema: { version, tables: BOOKS },
    projection: (database) => new BookProjection(database),
    onError,
    onReadAgain,
  });

test('the feed knows what is open, forgets what is full, and reads a shelf again that speaks again', async () => {
  await place('a', 'Emma', 'Dune', 'Ulysses');
  await place('b', 'Emma');
  const told: [string, number | null, number][] = [];
  const damaged: string[] = [];
  const feed = new AggregateFeed<Shelf, BookPlaced>(
    store,
    shelf,
    {
      isClosed: ({ books }) => books.length === 3,
      find: (id) => shelves.find(id),
      begin: () => Promise.resolve({ position: null, open: new Map() }),
      revisionBefore: () => -1,
      changed: (id, before, after) => told.push([id, before?.revision ?? null, after.revision]),
      damaged: (id) => damaged.push(id),
    },
    quiet,
  );
  await feed.start();
  expect(feed.all().map(({ books }) => books)).toEqual([['Emma']]);
  await place('b', 'Dune');
  await feed.seen('b', 1);
  expect(feed.get('b')!.books).toEqual(['Emma', 'Dune']);
  expect(told.at(-1)).toEqual(['b', 0, 1]);
  expect(feed.get('a')).toBeUndefined();
  await feed.seen('a', 2); // aggregate "a" was closed at this revision, which is all the feed needs to know
  await store.append('shelf-a', [{ id: 'f7d1f1d6-9a0f-4a43-8b52-b43b6ea7c9c0', type: 'Dusted', data: Buffer.from('{"v":2}') }], 2n);
  await feed.seen('a', 3);
  expect(told.at(-1)).toEqual(['a', null, 3]);
  feed.setAside('b', new EventCorruptError('shelf-b', 1n, { commit: 1n, prepare: 1n }, 'a byte was changed'));
  expect([feed.get('b'), feed.isDamaged('b'), damaged]).toEqual([undefined, true, ['b']]);
  await feed.stop();
});

test('the views go on from their position, and are made again for another version of their tables or on request', async () => {
  await place('a', 'Emma');
  const first = viewsOn();
  first.start();
  await first.reach('a', 0);
  await first.stop();
  await place('a', 'Dune');
  const again = viewsOn();
  expect(again.titles()).toEqual(['Emma']);
  again.start();
  await again.reach('a', 1);
  expect(again.titles()).toEqual(['Emma', 'Dune']);
  // A row stays whole for any condition of a query.
  expect(again.database.prepare("SELECT 1 FROM books WHERE shelf = 'a' AND place = 1 AND title = 'Emma'").all()).toEqual([]);
  again.database.exec("UPDATE books_rows SET title = 'spoiled'");
  const steps = [];
  for await (const step of again.rebuild(new AbortController().signal)) steps.push(step);
  expect(steps.at(-1)).toEqual({ eventsDone: 2n, done: true });
  expect(again.titles()).toEqual(['Emma', 'Dune']);
  await again.stop();
  const grown = viewsOn(2);
  expect([grown.titles(), readPosition(grown.database).position]).toEqual([[], null]);
  grown.start();
  await grown.reach('a', 1);
  await grown.stop();
});

test('a batch that fails leaves neither rows nor a position, and comes again', async () => {
  await place('a', 'Emma', 'Dune');
  const events: StoredEvent[] = [];
  for await (const event of store.read('shelf-a', { from: 'start' })) events.push(event);
  const views = viewsOn();
  const projection = new BookProjection(views.database);
  const unreadable = { ...events[1]!, data: Buffer.from('no JSON') };
  expect(() => projection.apply([events[0]!, unreadable], unreadable.position)).toThrow(SyntaxError);
  expect([views.titles(), readPosition(views.database)]).toEqual([[], { position: null, events: 0 }]);
  expect([...projection.apply(events, events[1]!.position)]).toEqual(['a']);
  expect([views.titles(), readPosition(views.database).events]).toEqual([['Emma', 'Dune'], 2]);
  await views.stop();
});

describe('a file of read models on a disk that lies', () => {
  const file = (): string => join(folder, 'books.sqlite');

  async function stopped(): Promise<void> {
    await place('a', 'Emma', 'Dune');
    const views = viewsOn();
    views.start();
    await views.reach('a', 1);
    await views.stop();
  }

  function spoil(sql: string): void {
    const database = new Database(file());
    addSums(database, (problem) => new Error(problem));
    database.unsafeMode();
    database.pragma('ignore_check_constraints = 1');
    database.pragma('writable_schema = 1');
    database.exec(sql);
    database.close();
  }

  async function isMendedAtStart(): Promise<void> {
    const views = viewsOn();
    views.start();
    await views.ready();
    expect(views.titles()).toEqual(['Emma', 'Dune']);
    expect(await views.problemInFile()).toBeNull();
    await views.stop();
  }

  test('that is removed while they are open is a problem that a check names, and they are made again from the events', async () => {
    await stopped();
    const views = viewsOn();
    views.start();
    await views.ready();
    rmSync(file());
    const problem = await views.problemInFile();
    expect(problem).toBe(`${file()} was removed under the running server`);
    await views.startAnew(new ViewsDamagedError(problem!));
    await views.reach('a', 1);
    expect(await views.problemInFile()).toBeNull();
    await views.stop();
  });

  test('any bit that is changed in it changes nothing that is shown', async () => {
    await stopped();
    const whole = readFileSync(file());
    const inHead = [16, 18, 19, 20, 28, 47, 59]; // sizes and versions
    for (const at of [...inHead, ...Array.from({ length: Math.floor(whole.length / 397) }, (_, index) => 397 * index)]) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 1 << (at % 8);
      writeFileSync(file(), bytes);
      await isMendedAtStart();
      writeFileSync(file(), whole);
    }
  });

  test('a changed row ends the query of a running server, and the file is made again', async () => {
    await stopped();
    const errors: string[] = [];
    const views = viewsOn(1, (error) => errors.push((error as Error).message));
    views.start();
    await views.ready();
    const other = new Database(file());
    addSums(other, () => new Error('unused'));
    // SQLite computes the sum again at every write, so this test changes the bytes in the file.
    other.pragma('wal_checkpoint(TRUNCATE)');
    other.close();
    const bytes = readFileSync(file());
    bytes[bytes.indexOf('Dune')] = 'J'.charCodeAt(0);
    writeFileSync(file(), bytes);
    views.database.pragma('shrink_memory');
    expect(() => views.titles()).toThrow(
      expect.objectContaining({ code: 'VIEW_LAGGING', message: expect.stringContaining('a row of books') }),
    );
    await expect(views.ready()).rejects.toMatchObject({ code: 'VIEW_LAGGING' });
    await eventually(() => views.ready());
    expect(views.titles()).toEqual(['Emma', 'Dune']);
    expect(errors).toEqual([expect.stringContaining('a row of books has other values than were written')]);
    await views.stop();
  });

  test('a start that reads all events again says why, and one with a whole file or without events says nothing', async () => {
    const told = async (version = 1): Promise<string[]> => {
      const reasons: string[] = [];
      const views = viewsOn(version, undefined, (because) => reasons.push(because));
      views.start();
      await views.ready();
      await views.stop();
      return reasons;
    };
    await store.append('notAShelf', [{ id: randomUUID(), type: 'Named', data: Buffer.from('{}') }], 'any');
    expect(await told()).toEqual([]); // the store has no events of shelves
    removeViewsFile(file());
    await place('a', 'Emma');
    expect(await told()).toEqual(['missing']);
    expect(await told()).toEqual([]);
    expect(await told(2)).toEqual(['otherTables']);
    for (const bytes of [Buffer.alloc(0), readFileSync(file()).subarray(0, 5_000), randomBytes(20_000)]) {
      removeViewsFile(file());
      writeFileSync(file(), bytes);
      expect(await told(2)).toEqual(['damaged']);
    }
    spoil("UPDATE projection_rows SET last_event_id = 'another'");
    expect(await told(2)).toEqual(['otherStore']);
  });

  test('a table that was declared otherwise is not read', async () => {
    await stopped();
    spoil("UPDATE sqlite_master SET sql = replace(sql, 'is_whole', 'row_sum') WHERE name = 'books_rows'");
    spoil("UPDATE books_rows SET title = 'Emmas'");
    await isMendedAtStart();
  });
});

async function eventually(work: () => Promise<unknown>): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      await work();
      return;
    } catch (error) {
      if (tries === 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compileFilter, type EventFilter } from './event-filter.js';
import { newJsonEvent } from './event-log.js';
import type { EventRecord } from './event-record.js';
import { Store } from './store.js';

const ALL = Number.MAX_SAFE_INTEGER;
const LOUD_EVENTS = 25_000; // more than the reader would look up by stream

describe('a filtered read of a long log', () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-reader-'));
  let store: Store;

  beforeAll(async () => {
    store = Store.open(folder);
    const append = (stream: string, count: number, text = ''): Promise<unknown> =>
      store.append(
        stream,
        Array.from({ length: count }, () => newJsonEvent('Noted', JSON.stringify({ text }))),
        'any',
      );
    for (let at = 0; at < LOUD_EVENTS; at += 2_500) {
      await append('run-loud', 2_500, 'x'.repeat(100));
      await append(`study-${at}`, 2);
    }
    await append('study', 1); // no prefix "study-"
    await append('run-loud', 1);
  });
  afterAll(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  const filter = compileFilter({ on: 'stream', regex: '', prefixes: ['study-'] })!;
  /** Reads to the end. @returns the events, and the number of chunks that it took */
  function read(from: number, wanted = filter, limit = ALL): { events: EventRecord[]; chunks: number } {
    const events: EventRecord[] = [];
    for (let chunks = 0, at = from; ; chunks += 1) {
      const { records, scannedTo, atEnd } = store.reader.readAll(at, 'forwards', wanted, limit, ALL);
      events.push(...records);
      if (atEnd) return { events, chunks };
      at = scannedTo! + 1;
    }
  }
  const placesOf = (events: EventRecord[]): number[] => events.map(({ position }) => position);
  /** The same filter without the prefix that the index helps with. */
  const scanned: EventFilter = { passes: (stream) => stream.startsWith('study-'), streamPrefixes: [] };

  it('finds few streams without looking at all events between them, and the same as a scan', () => {
    const [found, byScan] = [read(0), read(0, scanned)];
    expect(placesOf(found.events)).toEqual(placesOf(byScan.events));
    expect(found.events).toHaveLength(20);
    expect([found.chunks, byScan.chunks]).toEqual([1, Math.ceil((LOUD_EVENTS + 22) / 2048)]);
  });

  it('goes on from any place, and in small chunks, with nothing twice or left out', () => {
    const places = placesOf(read(0).events);
    expect(placesOf(read(places[7]! + 1).events)).toEqual(places.slice(8));
    expect(placesOf(read(places[7]!).events)).toEqual(places.slice(7));
    expect(placesOf(read(0, filter, 3).events)).toEqual(places);
  });

  it('ends at once where no stream has such a name', () => {
    expect(read(0, compileFilter({ on: 'stream', regex: '', prefixes: ['token-'] }))).toEqual({ events: [], chunks: 1 });
  });

  it('scans where the wanted streams have many events, as an index would not help', () => {
    const runs = read(0, compileFilter({ on: 'stream', regex: '', prefixes: ['run-', 'study-'] }));
    expect(runs.events).toHaveLength(LOUD_EVENTS + 21);
  });

  it('tells a damaged event, and goes on behind it', () => {
    const [, damaged, after] = placesOf(read(0).events);
    store.database.prepare("UPDATE events SET data = 'other' WHERE position = ?").run(damaged);
    const first = store.reader.readAll(0, 'forwards', filter, ALL, ALL);
    expect(first.damaged).toMatchObject({ place: { position: damaged } });
    expect(first.records).toHaveLength(1);
    expect(store.reader.readAll(first.scannedTo! + 1, 'forwards', filter, ALL, ALL).records[0]!.position).toBe(after);
  });
});

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { newEvents } from '../contract/tested-server.js';
import { connectEventStore, startEmbeddedEventStore, verifyEmbeddedEventStore } from '../index.js';

/**
 * The distance between the bytes that are tested: some hundred bytes of the file by default. ESPALIER_EXHAUSTIVE=1 tests all bytes, which
 * takes minutes.
 */
const STRIDE = process.env['ESPALIER_EXHAUSTIVE'] === undefined ? 211 : 1;

/** Returns all that a reader can get out of the file, by each way of reading. */
function contentOf(file: string): string {
  const database = new Database(file, { readonly: true });
  try {
    const all = (sql: string) => database.prepare(sql).all();
    return JSON.stringify([
      all('SELECT * FROM events ORDER BY position'),
      all('SELECT name FROM streams ORDER BY id'),
      all('SELECT name, e.* FROM streams s JOIN events e ON e.stream_id = s.id ORDER BY s.name, revision'),
      all('SELECT stream_id, event_id, revision FROM events INDEXED BY events_by_id ORDER BY stream_id, event_id'),
      all("SELECT id FROM streams WHERE name = 'pruningRun-a' UNION ALL SELECT id FROM streams WHERE name = 'pruningRun-b'"),
    ]);
  } finally {
    database.close();
  }
}

test('a flipped byte anywhere in the file is found, or no reader can see it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'event-store-flipped-'));
  const file = join(folder, 'events.db');
  const server = await startEmbeddedEventStore({ folder });
  const store = connectEventStore(server);
  await store.append('pruningRun-a', newEvents(40), 'no_stream');
  await store.append('pruningRun-b', [...newEvents(20), { ...newEvents(1)[0]!, data: Buffer.alloc(9000, 'x') }], 'no_stream');
  await store.close();
  await server.stop();
  const whole = readFileSync(file);
  const content = contentOf(file);
  expect(verifyEmbeddedEventStore({ folder }).problems).toEqual([]);
  const missed: number[] = [];
  let found = 0;
  for (let at = 0; at < whole.length; at += STRIDE) {
    const damaged = Buffer.from(whole);
    damaged[at]! ^= 1 << (at % 8);
    writeFileSync(file, damaged);
    if (isFound(folder)) found += 1;
    else if (contentOf(file) !== content) missed.push(at);
  }
  expect(missed).toEqual([]);
  expect(found).toBeGreaterThan(50);
  rmSync(folder, { recursive: true, force: true });
}, 600_000);

function isFound(folder: string): boolean {
  try {
    const { problems } = verifyEmbeddedEventStore({ folder });
    return problems.length > 0 && problems.every(({ message }) => message !== '');
  } catch {
    return true;
  }
}

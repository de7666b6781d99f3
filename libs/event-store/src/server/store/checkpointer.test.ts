// Tests that even a small, new store does not lie in the write-ahead log alone for long.
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { Checkpointer } from './checkpointer.js';
import { openForWriting } from './database.js';

const folder = mkdtempSync(join(tmpdir(), 'checkpointer-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Opens the database as it would be if its log were lost. */
function withoutLog<T>(look: (database: Database.Database) => T): T {
  const copy = join(folder, 'copy.db');
  copyFileSync(join(folder, 'events.db'), copy);
  const database = new Database(copy);
  try {
    return look(database);
  } finally {
    database.close();
    for (const suffix of ['', '-wal', '-shm']) rmSync(copy + suffix, { force: true });
  }
}

test('the schema is in the file at once, a single commit after a while', async () => {
  const database = openForWriting(folder);
  expect(existsSync(join(folder, 'events.db-wal'))).toBe(true);
  const idOf = (of: Database.Database): unknown => of.prepare("SELECT value FROM store_info WHERE key = 'store_id'").pluck().get();
  expect(withoutLog(idOf)).toBe(idOf(database));
  const checkpointer = new Checkpointer(database, folder, () => undefined, 1);
  const streams = (of: Database.Database): unknown => of.prepare('SELECT count(*) FROM streams').pluck().get();
  for (const wanted of [1, 2]) {
    database.prepare('INSERT INTO streams (name) VALUES (?)').run(`stream ${wanted}`);
    checkpointer.committed();
    while (withoutLog(streams) !== wanted) await sleep(5);
  }
  await checkpointer.close();
  database.close();
});

test.each<[string, (log: string) => void]>([
  ['is removed', (log) => rmSync(log)],
  [
    'is replaced',
    (log) => {
      rmSync(log);
      writeFileSync(log, '');
    },
  ],
])('a log that %s under the store loses nothing that was committed before or after', async (_, lose) => {
  const own = mkdtempSync(join(folder, 'lost-'));
  const database = openForWriting(own);
  let lost = 0;
  const checkpointer = new Checkpointer(database, own, () => (lost += 1));
  const add = (name: string): void => {
    database.prepare('INSERT INTO streams (name) VALUES (?)').run(name);
    checkpointer.committed();
  };
  const kept = (): unknown => {
    copyFileSync(join(own, 'events.db'), join(own, 'copy.db'));
    const copy = new Database(join(own, 'copy.db'));
    const names = copy.prepare('SELECT name FROM streams ORDER BY id').pluck().all();
    copy.close();
    for (const suffix of ['', '-wal', '-shm']) rmSync(join(own, `copy.db${suffix}`), { force: true });
    return names;
  };
  add('before');
  lose(join(own, 'events.db-wal'));
  while (lost === 0) await sleep(5); // it is noticed while nothing is written
  expect(kept()).toEqual(['before']);
  add('after');
  expect(kept()).toEqual(['before', 'after']);
  expect(lost).toBe(1);
  await checkpointer.close();
  database.close();
});

// Tests that even a small, new store does not lie in the write-ahead log alone for long.
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
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
  const checkpointer = new Checkpointer(database, folder, 1);
  const streams = (of: Database.Database): unknown => of.prepare('SELECT count(*) FROM streams').pluck().get();
  for (const wanted of [1, 2]) {
    database.prepare('INSERT INTO streams (name) VALUES (?)').run(`stream ${wanted}`);
    checkpointer.committed();
    while (withoutLog(streams) !== wanted) await sleep(5);
  }
  await checkpointer.close();
  database.close();
});

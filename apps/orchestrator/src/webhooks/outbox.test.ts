// Tests which files with waiting notifications a server opens.
import Database from 'better-sqlite3';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Outbox } from './outbox.js';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'outbox-'));
  file = join(folder, 'webhooks.sqlite');
});
afterEach(() => rmSync(folder, { recursive: true }));

function changeFile(sql: string): void {
  const database = new Database(file);
  database.exec(sql);
  database.close();
}

test('a file of a later release is refused, and keeps its bytes', () => {
  Outbox.open(file, []).close();
  changeFile('ALTER TABLE waiting RENAME COLUMN body TO letter; PRAGMA user_version = 99');
  const before = readFileSync(file, 'hex');
  const words =
    /is of a later release or build: its schema has version 99, and this build of release \S+ reads up to 1\. Nothing is changed/;
  expect(() => Outbox.open(file, [])).toThrow(
    expect.objectContaining({ code: 'WEBHOOKS_OF_LATER_RELEASE', message: expect.stringMatching(words) }),
  );
  expect(readFileSync(file, 'hex')).toBe(before);
});

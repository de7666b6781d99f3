import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { foreignInDataFolder, otherFormatText } from '#files';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'data-folder-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a new, an empty and a used data folder hold nothing foreign', () => {
  expect(foreignInDataFolder(join(folder, 'new'))).toBeUndefined();
  expect(foreignInDataFolder(folder)).toBeUndefined();
  writeFileSync(join(folder, 'server.log'), '');
  mkdirSync(join(folder, 'event-store'));
  expect(foreignInDataFolder(folder)).toBeUndefined();
  writeFileSync(join(folder, 'orchestrator.id'), 'x');
  writeFileSync(join(folder, 'views.sqlite'), '');
  expect(foreignInDataFolder(folder)).toBeUndefined();
});

test('a folder with something else in it is told by that', () => {
  writeFileSync(join(folder, 'corpus.txt'), 'the work of months');
  expect(foreignInDataFolder(folder)).toBe('corpus.txt');
});

test('a folder with a lock and no id is not ours', () => {
  writeFileSync(join(folder, 'orchestrator.lock'), '');
  mkdirSync(join(folder, 'engine'));
  expect(foreignInDataFolder(folder)).toBe('engine');
});

test('a folder of another format is told from a new one and from one of this release', () => {
  expect(otherFormatText(join(folder, 'new'))).toBeUndefined();
  expect(otherFormatText(folder)).toBeUndefined();
  writeFileSync(join(folder, 'orchestrator.id'), 'x');
  expect(otherFormatText(folder)).toMatch(/ is of a build before release 0\.1\.0, and this release reads format 1\. Nothing is changed: /);
  writeFileSync(join(folder, 'format'), '1\n');
  expect(otherFormatText(folder)).toBeUndefined();
  writeFileSync(join(folder, 'format'), '7\n');
  expect(otherFormatText(folder)).toContain('is of another release: its format is 7');
});

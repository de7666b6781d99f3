import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { foreignInDataFolder } from '#files';

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

test('a folder that an earlier release worked with is ours; one where a start was cut short is not, whatever else is there', () => {
  writeFileSync(join(folder, 'orchestrator.lock'), '');
  mkdirSync(join(folder, 'engine'));
  expect(foreignInDataFolder(folder)).toBe('engine');
  writeFileSync(join(folder, 'views.sqlite'), '');
  expect(foreignInDataFolder(folder)).toBeUndefined();
});

import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeFolder } from '#files';

const folder = mkdtempSync(join(tmpdir(), 'make-folder-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('makes what is missing, and leaves what is there', () => {
  makeFolder(join(folder, 'a/b/c'));
  makeFolder(join(folder, 'a/b/c'));
  expect(statSync(join(folder, 'a/b/c')).isDirectory()).toBe(true);
  symlinkSync('a', join(folder, 'link'));
  makeFolder(join(folder, 'link/d'));
  expect(statSync(join(folder, 'a/d')).isDirectory()).toBe(true);
});

test('where no folder can be made it says so at once', () => {
  writeFileSync(join(folder, 'file'), '');
  const codeOf = (path: string): unknown => {
    try {
      makeFolder(path);
      return;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code;
    }
  };
  expect(codeOf('/proc/foo/bar')).toBe('ENOENT');
  expect(codeOf(join(folder, 'file'))).toBe('ENOTDIR');
  expect(codeOf(join(folder, 'file/below'))).toBe('ENOTDIR');
  symlinkSync('nowhere', join(folder, 'dangling'));
  expect(codeOf(join(folder, 'dangling'))).toBe('EEXIST');
});

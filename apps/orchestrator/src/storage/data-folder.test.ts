import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataFolder, unusableText } from './data-folder.js';

test.each<[string, string, RegExp]>([
  [
    'EPERM',
    'a folder of another user, such as a volume that a cluster has mounted, tells what would do',
    /can't be used: refused. It belongs .* --data-folder \/data\/espalier$/,
  ],
  ['EROFS', 'a disk that is read-only is told as one', /^the data folder \/data can't be used: its disk is mounted read-only$/],
  ['EIO', 'another problem is told as it is', /^the data folder \/data can't be used: refused$/],
])('%s: %s', (code, _, words) => {
  expect(unusableText('/data', Object.assign(new Error('refused'), { code }))).toMatch(words);
});

test('a folder of a build before the first release is refused by name, and nothing in it is changed', () => {
  const folder = mkdtempSync(join(tmpdir(), 'data-folder-'));
  try {
    for (const name of ['orchestrator.id', 'views.sqlite']) writeFileSync(join(folder, name), 'x');
    expect(() => DataFolder.open(folder)).toThrow(
      expect.objectContaining({ code: 'DATA_FOLDER_OF_OTHER_RELEASE', message: expect.stringContaining('before release 0.1.0') as string }),
    );
    expect(readdirSync(folder)).toEqual(['orchestrator.id', 'views.sqlite']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a new folder has the number of the format, and opens again', () => {
  const folder = mkdtempSync(join(tmpdir(), 'data-folder-'));
  try {
    const first = DataFolder.open(folder);
    first.close();
    const again = DataFolder.open(folder);
    expect(again.id).toBe(first.id);
    again.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the announcement of a server that ends by force names no server, only its own process', () => {
  const path = mkdtempSync(join(tmpdir(), 'data-folder-'));
  try {
    const folder = DataFolder.open(path);
    folder.announce('127.0.0.1:1', null, null);
    folder.closeByForce();
    const left = JSON.parse(readFileSync(join(path, 'espalier.json'), 'utf8')) as object;
    expect(left).toEqual({ endedByForce: process.pid, folder: expect.anything() as unknown });
    DataFolder.open(path).close();
  } finally {
    rmSync(path, { recursive: true });
  }
});

import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inTemporaryFolder } from './temporary-folder.js';

test('a temporary folder is there while the work lasts, for its owner alone, and gone after it, also where the work fails', async () => {
  const folders: string[] = [];
  const work = async (folder: string): Promise<string> => {
    folders.push(folder);
    writeFileSync(join(folder, 'file'), 'text');
    expect(statSync(folder).mode & 0o077).toBe(0);
    if (folders.length === 2) throw new RangeError('the work failed');
    return 'done';
  };
  expect(await inTemporaryFolder('test', work)).toBe('done');
  await expect(inTemporaryFolder('test', work)).rejects.toThrow(RangeError);
  expect(new Set(folders).size).toBe(2);
  expect(folders.map((folder) => existsSync(folder))).toEqual([false, false]);
});

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { faultOfFolder } from './fault-words.js';

const folder = mkdtempSync(join(tmpdir(), 'fault-words-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const MODULE = new URL('./fault-words.js', import.meta.url).pathname;

test('a folder that can be written has no fault, and nothing stays in it', () => {
  expect(faultOfFolder(folder)).toBeNull();
  expect(readdirSync(folder)).toEqual([]);
});

test('a folder that is not there is told as the system tells it', () => {
  expect(faultOfFolder(join(folder, 'nowhere'))).toContain('ENOENT');
});

test('a full table of files is named, with what raises it', () => {
  const program = `
    import { openSync } from 'node:fs';
    import { faultOfFolder } from '${MODULE}';
    try { for (;;) openSync('/dev/null', 'r'); } catch {}
    process.stdout.write(faultOfFolder('${folder}'));`;
  const words = execFileSync('bash', ['-c', 'ulimit -n 64; exec "$0" --input-type=module -e "$1"', process.execPath, program]);
  expect(words.toString()).toBe('this process has as many files open as it may: raise the limit (ulimit -n)');
});

const disk = mkdtempSync(join(tmpdir(), 'fault-words-disk-'));
const canMount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,nr_inodes=8', 'tmpfs', disk]).status === 0;
afterAll(() => {
  if (canMount) spawnSync('umount', ['-l', disk]);
  rmSync(disk, { recursive: true, force: true });
});

(canMount ? test : test.skip)('a disk without an inode is told apart from one that is read-only', () => {
  const fill = (): void => {
    for (let file = 0; ; file++) writeFileSync(join(disk, `${file}`), '');
  };
  expect(fill).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
  expect(faultOfFolder(disk)).toBe('no inode for another file is left on its disk (df -i)');
  rmSync(join(disk, '0'));
  expect(faultOfFolder(disk)).toBeNull();
  spawnSync('mount', ['-o', 'remount,ro', disk]);
  expect(faultOfFolder(disk)).toBe('its disk is mounted read-only');
});

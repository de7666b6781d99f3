// Tests which files with the output of jobs are removed, and what the last line of one is.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lastLineIn, removeOldLogs } from './job-logs.js';

const DAY_SECONDS = 86_400;
let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'espalier-logs-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, daysAgo: number): void {
  const path = join(folder, name);
  writeFileSync(path, 'said\n');
  const at = Date.now() / 1_000 - daysAgo * DAY_SECONDS;
  utimesSync(path, at, at);
}

it('logs of jobs go when they were last written long ago; those of jobs that are alive, and other files, stay', async () => {
  write('slurm-0123abcd-7.log', 31);
  write('slurm-gpu-0123abcd-8.log', 31);
  write('local-0123abcd.log', 31);
  write('slurm-0123abcd-9.log.gz', 31);
  write('notes.log', 31);
  write('slurm-4567abcd-10.log', 29);
  write('slurm-89abcdef-11.log', 31);
  mkdirSync(join(folder, 'slurm-ffffffff-12.log'));
  const removed = await removeOldLogs(folder, 30, (engine) => engine === 'slurm-89abcdef');
  expect(removed.sort()).toEqual(['local-0123abcd.log', 'slurm-0123abcd-7.log', 'slurm-gpu-0123abcd-8.log']);
  expect(readdirSync(folder).sort()).toEqual([
    ...['notes.log', 'slurm-0123abcd-9.log.gz', 'slurm-4567abcd-10.log', 'slurm-89abcdef-11.log', 'slurm-ffffffff-12.log'],
  ]);
  expect(await removeOldLogs(folder, 30, () => false)).toEqual(['slurm-89abcdef-11.log']);
});

it.each([
  ['of a log of several lines', 'first\nlast\n\n', 'last'],
  ['with colours and tabs', 'a \u001b[31mred\u001b[0m\tline\r\n', 'a [31mred [0m line'],
  ['of an empty file', '', ''],
  ['of nine thousand characters', `${'x'.repeat(9_000)}\n`, `${'x'.repeat(297)}...`],
])('the last line %s', (_, text, line) => {
  writeFileSync(join(folder, 'one.log'), text);
  expect(lastLineIn(join(folder, 'one.log'))).toBe(line);
});

it('a file that is not there has no last line', () => {
  expect(lastLineIn(join(folder, 'none.log'))).toBe('');
});

// Tests a disk that is full while no server runs. A server can still be started there, so that its commands can make room.
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { runProcess } from '../testing/run-cli.js';

const ROOT = fileURLToPath(new URL('../../../../../', import.meta.url));
const disk = mkdtempSync(join(tmpdir(), 'cli-disk-'));
const canMount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', disk]).status === 0;
const artifacts = mkdtempSync(join(tmpdir(), 'cli-artifacts-')); // on another disk, so that only events need room
const dataFolder = join(disk, 'data');
const espalier = (...args: string[]) => runProcess([...args, '--data-folder', dataFolder]);
afterAll(async () => {
  await espalier('down');
  if (canMount) spawnSync('umount', ['-l', disk]);
  for (const folder of [disk, artifacts]) rmSync(folder, { recursive: true, force: true });
});

/** Fills the disk. */
function fill(file: string): void {
  const descriptor = openSync(file, 'a');
  for (const size of [1 << 20, 1 << 12, 1]) {
    try {
      for (;;) writeSync(descriptor, Buffer.alloc(size));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }
  closeSync(descriptor);
}

(canMount ? test : test.skip)('up starts the server on a full disk with a part of the reserve; delete and gc work there', async () => {
  const up = () => espalier('up', '--detach', '--listen', '127.0.0.1:0', '--web', 'off', '--threads', '1', '--artifacts', artifacts);
  expect(await up()).toMatchObject({ exitCode: 0 });
  const settings = ['--steps', '20', '--batch-size', '2', '--sequence-length', '32', '--target-sparsity', '0.2'];
  const data = ['--model', `${ROOT}testdata/models/gqa-random-tiny`, '--data', `${ROOT}examples/data/factbook/validation.jsonl`];
  const launched = await espalier('launch', ...data, ...settings, '--json');
  const { run_id: runId } = JSON.parse(launched.stdout) as { run_id: string };
  expect((await espalier('watch', runId)).exitCode).toBe(0);
  while (!existsSync(join(dataFolder, 'reserve'))) await sleep(50);
  expect((await espalier('down')).exitCode).toBe(0);

  fill(join(disk, 'foreign'));
  expect(await up()).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^running at/) });
  fill(join(disk, 'foreign'));
  const { stdout } = await espalier('status');
  expect(stdout).toMatch(/^disk +\d+ B free .*, too little for commands that record something \(STORAGE_FULL\)$/m);
  expect(await espalier('delete', runId, '--yes')).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/is deleted/) });
  expect((await espalier('gc')).exitCode).toBe(0);
});

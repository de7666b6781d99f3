// The real server, started and stopped as a user does it.
import { mkdtemp, readFile, rm, writeFile, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive } from './connection/server-address.js';
import { runCli } from './testing/run-cli.js';

let folder: string;
const espalier = (...args: string[]) => runCli([...args, '--data-folder', folder]);
beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'cli-stack-')); });
afterEach(async () => {
  await espalier('down');
  await rm(folder, { recursive: true, force: true });
});

test('up --detach is ready when it returns, is found through the data folder, and down stops it', async () => {
  const up = await espalier('up', '--detach', '--listen', '127.0.0.1:0', '--json');
  expect(up).toMatchObject({ exitCode: 0, stderr: '' });
  const { pid, listen, was_running: wasRunning } = JSON.parse(up.stdout) as { pid: number; listen: string; was_running: boolean };
  expect(wasRunning).toBe(false);
  expect(JSON.parse(await readFile(join(folder, 'espalier.json'), 'utf8'))).toMatchObject({ listen, pid });
  expect((await espalier('runs')).stdout).toMatch(/no runs/);
  expect(JSON.parse((await espalier('up', '--detach', '--json')).stdout)).toMatchObject({ pid, was_running: true });
  const second = await espalier('up');
  expect(second.exitCode).toBe(5);
  expect(second.stderr).toMatch(/SERVER_ALREADY_RUNNING/);

  const stats = JSON.parse((await espalier('store', 'stats', '--check', '--json')).stdout) as object;
  expect(stats).toMatchObject({ is_open: true, check: { problems: [] } });
  expect((await espalier('store', 'backup', join(folder, 'backup.db'))).exitCode).toBe(0);
  expect((await espalier('store', 'backup', join(folder, 'backup.db'))).exitCode).toBe(5);
  expect((await espalier('store', 'restore', join(folder, 'backup.db'), '--overwrite')).stderr).toMatch(/STORE_LOCKED[^]*espalier down/);

  expect((await espalier('down')).exitCode).toBe(0);
  expect(isAlive(pid)).toBe(false);
  expect((await espalier('store', 'restore', join(folder, 'backup.db'), '--overwrite')).stdout).toMatch(/what was there is in/);
}, 60_000);

test('a server that cannot start says why', async () => {
  await mkdir(join(folder, 'event-store'), { recursive: true });
  const bad = await espalier('up', '--detach', '--listen', 'nonsense');
  expect(bad.exitCode).not.toBe(0);
  expect(bad.stderr).toMatch(/SERVER_START_FAILED[^]*nonsense/);
  await writeFile(join(folder, 'file'), '');
  expect((await runCli(['up', '--detach', '--data-folder', join(folder, 'file')])).stderr).toMatch(/DATA_FOLDER_UNUSABLE/);
}, 60_000);

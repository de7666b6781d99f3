// Tests the real server, started and stopped as a user does it. Its deaths are in stack.long.test.ts.
import { execFileSync } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, writeFile, mkdir } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { isAlive } from '../connection/server-address.js';
import { runCli } from '../testing/run-cli.js';
import { stopStack } from './stack.js';

let folder: string;
const espalier = (...args: string[]) => runCli([...args, '--data-folder', folder]);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cli-stack-'));
});
afterEach(async () => {
  await espalier('down');
  await rm(folder, { recursive: true, force: true });
});

test('devices: of this machine while no server runs, then with the engines on them', async () => {
  const cpu = { name: 'cpu', problem: '', memory_bytes: expect.any(Number) };
  const listed = async () => (JSON.parse((await espalier('devices', '--json')).stdout) as { devices: object[] }).devices;
  expect(await listed()).toContainEqual(expect.objectContaining({ ...cpu, engines: [] }));
  expect((await espalier('devices')).stdout).toMatch(/^DEVICE +USABLE +MODEL[^]*cpu +yes /);
  await espalier('up', '--detach', '--listen', '127.0.0.1:0', '--device', 'cpu', '--engines', '2', '--threads', '1');
  expect(await listed()).toContainEqual(expect.objectContaining({ ...cpu, engines: ['local-1'] }));
});

test('a server that is killed while it stops did not stop in good order', async () => {
  const up = await espalier('up', '--detach', '--listen', '127.0.0.1:0', '--json');
  const { pid } = JSON.parse(up.stdout) as { pid: number };
  process.kill(pid, 'SIGSTOP'); // it hangs, so it can't stop in order
  const stopping = stopStack(folder);
  process.kill(pid, 'SIGKILL');
  expect(await stopping).toEqual({ pid, inOrder: false });
});

test('up --detach is ready when it returns, is found through the data folder, and down stops it', async () => {
  const up = await espalier('up', '--detach', '--listen', '127.0.0.1:0', '--json');
  expect(up).toMatchObject({ exitCode: 0, stderr: '' });
  const { pid, listen, was_running: wasRunning } = JSON.parse(up.stdout) as { pid: number; listen: string; was_running: boolean };
  expect(wasRunning).toBe(false);
  expect(JSON.parse(await readFile(join(folder, 'espalier.json'), 'utf8'))).toMatchObject({ listen, pid });
  expect((await espalier('runs')).stdout).toMatch(/no runs/);
  const status = await espalier('status', '--json');
  expect(status.exitCode).toBe(0);
  expect(JSON.parse(status.stdout)).toMatchObject({
    server: { running: true, answers: true, listen, pid },
    store: { open: true, problem: null },
    runs: { total: 0, by_status: {} },
  });
  expect(JSON.parse((await espalier('up', '--detach', '--json')).stdout)).toMatchObject({ pid, was_running: true });
  const elsewhere = await espalier('up', '--detach', '--listen', '127.0.0.1:1');
  expect(elsewhere.stdout).toMatch(/already running at/);
  expect(elsewhere.stderr).toMatch(/--listen holds after `espalier down`/);
  const second = await espalier('up');
  expect(second.exitCode).toBe(5);
  expect(second.stderr).toMatch(/SERVER_ALREADY_RUNNING/);

  const copy = join(folder, 'copy');
  await mkdir(copy);
  for (const name of ['espalier.json', 'token']) await copyFile(join(folder, name), join(copy, name));
  const inCopy = (...args: string[]) => runCli([...args, '--data-folder', copy]);
  const isCopied = expect.stringMatching(/no server runs on .*copy: its espalier.json was copied from another/) as string;
  expect(await inCopy('down')).toMatchObject({ exitCode: 0, stdout: isCopied });
  expect(await inCopy('runs')).toMatchObject({ exitCode: 4, stderr: isCopied });
  expect(isAlive(pid)).toBe(true);

  const stats = JSON.parse((await espalier('store', 'stats', '--check', '--json')).stdout) as object;
  expect(stats).toMatchObject({ is_open: true, check: { problems: [] } });
  const backups = await mkdtemp(join(tmpdir(), 'cli-backups-'));
  expect((await espalier('backup', backups)).exitCode).toBe(0);
  expect((await espalier('restore', backups, '--overwrite')).stderr).toMatch(/STORE_LOCKED[^]*espalier down/);

  expect((await espalier('down')).exitCode).toBe(0);
  expect(isAlive(pid)).toBe(false);
  expect(await espalier('status')).toMatchObject({
    exitCode: 4,
    stdout: expect.stringMatching(/server +not running[^]*event store +closed/),
  });
  expect((await espalier('logs', '--lines', '3')).stdout).toMatch(/info +orchestrator +stopping at the next step boundary/);
  expect((await espalier('restore', backups, '--overwrite')).stdout).toMatch(/the former event store is in/);
  await rm(backups, { recursive: true });
});

test('a server that cannot start says why', async () => {
  await mkdir(join(folder, 'event-store'), { recursive: true });
  const nowhere = await espalier('up', '--detach', '--listen', 'nonsense:1', '--allow-insecure-remote');
  expect(nowhere.exitCode).toBe(1);
  expect(nowhere.stderr).toMatch(/SERVER_START_FAILED: nonsense:1 can't be served: .*LISTEN_FAILED/);
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const { port } = taken.address() as AddressInfo;
  expect((await espalier('up', '--detach', '--listen', `127.0.0.1:${port}`)).stderr).toMatch(/another program listens there/);
  taken.close();
  const device = await espalier('up', '--detach', '--listen', '127.0.0.1:0', '--device', 'abacus');
  expect(device).toMatchObject({ exitCode: 2, stdout: '' });
  expect(device.stderr).toMatch(/^error SERVER_START_FAILED: [^']*'abacus'[^']*\n$/); // it is reported once
  for (const bad of [
    ['--listen', 'nonsense'],
    ['--threads', '0'],
    ['--log-level', 'loud'],
    ['--listen', 'a:70000'],
    ['--listen', '0.0.0.0:7433'],
    ['--s3-cache', 'much'],
    ['--s3-region', 'eu-central-1'],
    ['--artifacts', 's3://'],
    ['--event-store', 'kurrentdb://'],
    ['--cards', '2', '--device', 'cpu'],
    ['--tls-cert', '/nowhere/cert.pem', '--tls-key', '/nowhere/key.pem'],
    ['--fleet', '/nowhere/fleet.yaml'],
    ['--webhooks', '/nowhere/webhooks.yaml'],
    ['--oidc', '/nowhere/oidc.yaml'],
  ])
    expect(await espalier('up', '--detach', ...bad)).toMatchObject({ exitCode: 2, stdout: '' });
  execFileSync('mkfifo', [join(folder, 'fifo')]); // opening it for reading would block for ever
  for (const path of [join(folder, 'fifo'), '/dev/zero']) {
    const store = await espalier('up', '--detach', '--listen', '127.0.0.1:0', '--event-store', path);
    expect(store).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/--event-store .* nor a file with one: .* is a (FIFO|device)/),
    });
  }
  const later = new Database(join(folder, 'event-store', 'events.db'));
  later.pragma('user_version = 99');
  later.close();
  const token = () => readFile(join(folder, 'token'), 'utf8');
  const tokenBefore = await token();
  expect((await espalier('up', '--detach', '--listen', '127.0.0.1:0')).stderr).toMatch(
    /SERVER_START_FAILED: the event store .* is of a later build of release[^]*Nothing is changed[^]*STORE_SCHEMA_TOO_NEW/,
  );
  expect(await token()).toBe(tokenBefore);
  await writeFile(join(folder, 'file'), '');
  expect((await runCli(['up', '--detach', '--data-folder', join(folder, 'file')])).stderr).toMatch(/DATA_FOLDER_UNUSABLE/);
});

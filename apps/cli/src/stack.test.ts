// Tests the real server, started and stopped as a user does it.
import { execFileSync } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, writeFile, mkdir } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isAlive, readServerFile } from './connection/server-address.js';
import { runProcess, type CliResult } from './testing/run-cli.js';

let folder: string;
// Runs take a second here. The short interval lets tests see unfinished ones.
const env = { ESPALIER_RECORD_INTERVAL_MS: '20' };
const espalier = (...args: string[]) => runProcess([...args, '--data-folder', folder], { env });
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
  const inCopy = (...args: string[]) => runProcess([...args, '--data-folder', copy]);
  const isCopied = expect.stringMatching(/no server runs on .*copy: its espalier.json was copied from another/) as string;
  expect(await inCopy('down')).toMatchObject({ exitCode: 0, stdout: isCopied });
  expect(await inCopy('runs')).toMatchObject({ exitCode: 4, stderr: isCopied });
  expect(isAlive(pid)).toBe(true);

  const stats = JSON.parse((await espalier('store', 'stats', '--check', '--json')).stdout) as object;
  expect(stats).toMatchObject({ is_open: true, check: { problems: [] } });
  expect((await espalier('store', 'backup', join(folder, 'backup.db'))).exitCode).toBe(0);
  expect((await espalier('store', 'backup', join(folder, 'backup.db'))).exitCode).toBe(5);
  expect((await espalier('store', 'restore', join(folder, 'backup.db'), '--overwrite')).stderr).toMatch(/STORE_LOCKED[^]*espalier down/);

  expect((await espalier('down')).exitCode).toBe(0);
  expect(isAlive(pid)).toBe(false);
  expect(await espalier('status')).toMatchObject({
    exitCode: 4,
    stdout: expect.stringMatching(/server +not running[^]*event store +closed/),
  });
  expect((await espalier('logs', '--lines', '3')).stdout).toMatch(/info +orchestrator +stopping at the next step boundary/);
  expect((await espalier('store', 'restore', join(folder, 'backup.db'), '--overwrite')).stdout).toMatch(/what was there is in/);
});

test('history --follow and watch outlive a server that is killed again and again: every event and every step once', async () => {
  const root = fileURLToPath(new URL('../../../../', import.meta.url));
  const up = (): Promise<unknown> => espalier('up', '--detach', '--listen', '127.0.0.1:0', '--threads', '1');
  await up();
  const all = follow('history', '--follow');
  const launched = await espalier(
    'launch',
    '--model',
    `${root}testdata/models/gqa-random-tiny`,
    '--data',
    `${root}examples/data/factbook/validation.jsonl`,
    '--steps',
    '100000', // far more steps than are done before the run is cancelled
    '--batch-size',
    '2',
    '--sequence-length',
    '32',
    '--segment-steps',
    '10',
    '--target-sparsity',
    '0.2',
    '--json',
  );
  const runId = (JSON.parse(launched.stdout) as { run_id: string }).run_id;
  const one = follow('history', runId, '--follow');
  const watched = follow('watch', runId, '--after-revision', '0');
  const followers = [all, one, watched];
  const stepNow = async (): Promise<number> => (JSON.parse((await espalier('show', runId, '--json')).stdout) as { step: number }).step;
  for (const kills of [0, 1, 2]) {
    for (const follower of followers) await follower.has(() => follower.hasSaid('{') && follower.timesConnectedAgain() === kills);
    const before = await stepNow();
    while ((await stepNow()) < before + 20) await sleep(10);
    if (kills === 2) break;
    process.kill(readServerFile(folder)!.pid, 'SIGKILL');
    await up();
  }
  expect((await espalier('cancel', runId)).exitCode).toBe(0);
  expect((await watched.ended).exitCode).toBe(1); // the run did not complete
  for (const history of [all, one]) {
    await history.has(() => history.hasSaid('"RunCancelled"'));
    history.stop('SIGINT');
    await history.ended;
  }
  const { events } = JSON.parse((await espalier('history', runId, '--json')).stdout) as { events: { event_id: string }[] };
  const recorded = events.map((event) => event.event_id);
  expect(one.lines.map((event) => event['event_id'])).toEqual(recorded);
  expect(all.lines.map((event) => event['event_id'])).toEqual(recorded.slice(-all.lines.length)); // from the time when it began to listen
  const seen = watched.lines.flatMap((update) => update['steps'] as { step: number }[]).map(({ step }) => step);
  expect(seen).toEqual(Array.from(seen, (_, step) => step));
  expect(seen.length).toBeGreaterThanOrEqual(await stepNow());
});

interface Follower {
  /** All that the command has printed. */
  readonly lines: Record<string, unknown>[];
  hasSaid: (text: string) => boolean;
  timesConnectedAgain: () => number;
  /** Resolves when the condition is true. Rejects with the command's last words if the command ends before. */
  has: (isSo: () => boolean) => Promise<void>;
  stop: (signal: NodeJS.Signals) => void;
  ended: Promise<CliResult>;
}

function follow(...args: string[]): Follower {
  let [stdout, stderr, over] = ['', '', false];
  let stop: Follower['stop'] = () => undefined;
  const ended = runProcess([...args, '--json', '--data-folder', folder], {
    onOutput: (sofar) => (stdout = sofar),
    onErrorOutput: (sofar) => (stderr = sofar),
    stop: new Promise((resolve) => (stop = resolve)),
  });
  void ended.then(() => (over = true));
  return {
    get lines() {
      const whole = stdout.slice(0, stdout.lastIndexOf('\n') + 1).split('\n');
      return whole.slice(0, -1).map((line) => JSON.parse(line) as Record<string, unknown>);
    },
    hasSaid: (text) => stdout.includes(text),
    timesConnectedAgain: () => stderr.split('connected again').length - 1,
    has: async (isSo) => {
      while (!isSo()) {
        if (over) throw new Error(`${args.join(' ')} has ended: ${stderr}`);
        await sleep(10);
      }
    },
    stop: (signal) => stop(signal),
    ended,
  };
}

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
  expect(device).toMatchObject({ exitCode: 1, stdout: '' });
  expect(device.stderr).toMatch(/^error SERVER_START_FAILED: [^']*'abacus'[^']*\n$/); // it is reported once
  for (const bad of [
    ['--listen', 'nonsense'],
    ['--threads', '0'],
    ['--log-level', 'loud'],
    ['--listen', 'a:70000'],
  ])
    expect(await espalier('up', '--detach', ...bad)).toMatchObject({ exitCode: 2, stdout: '' });
  execFileSync('mkfifo', [join(folder, 'fifo')]); // opening it for reading would block for ever
  for (const path of [join(folder, 'fifo'), '/dev/zero']) {
    const store = await espalier('up', '--detach', '--listen', '127.0.0.1:0', '--event-store', path);
    expect(store).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/--event-store .* no file that holds one: .* is a (FIFO|device)/),
    });
  }
  await writeFile(join(folder, 'file'), '');
  expect((await runProcess(['up', '--detach', '--data-folder', join(folder, 'file')])).stderr).toMatch(/DATA_FOLDER_UNUSABLE/);
});

// Tests which server a command uses, and its messages if it finds no server, or if another user has it.
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EspalierError } from '#protocol';
import { runCli, runProcess, type CliResult } from '../testing/run-cli.js';
import { testRun, TestServer } from '../testing/test-server.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'which-server-'));
  chmodSync(folder, 0o755);
});
afterEach(() => rmSync(folder, { recursive: true }));

const announce = (dataFolder: string, announcement: object): void => {
  mkdirSync(dataFolder, { recursive: true });
  writeFileSync(join(dataFolder, 'espalier.json'), JSON.stringify(announcement));
};

/** Returns an address at which no server listens. */
async function deadAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${port}`;
}

test.each([['down'], ['up', '--detach'], ['logs'], ['store', 'stats'], ['backup', 'b'], ['restore', 'b']])(
  '%s %s works on a data folder of this machine: a server that is named is refused',
  async (...command) => {
    const result = await runCli([...command, '--server', '127.0.0.1:1', '--data-folder', folder]);
    expect(result).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringMatching(/OPTIONS_CONFLICT: --server is not for/) });
  },
);

test('status of a server that is named says nothing of the data folder here, where another one runs', async () => {
  announce(folder, { listen: '127.0.0.1:7501', pid: process.pid });
  const dead = await deadAddress();
  const result = await runCli(['status', '--server', dead, '--data-folder', folder]);
  expect(result.exitCode).toBe(4);
  expect(result.stdout).toMatch(new RegExp(`^server +does not answer at ${dead}: SERVER_UNAVAILABLE`));
  expect(result.stdout).not.toMatch(/data folder|event store|disk|espalier up/);
  const server = await TestServer.start({ listRuns: () => ({ runs: [], nextPageToken: '', total: 0 }) });
  const elsewhere = await runCli(['status', '--server', server.address, '--data-folder', folder, '--json']);
  server.stop();
  expect(elsewhere.exitCode).toBe(0);
  expect(JSON.parse(elsewhere.stdout)).toMatchObject({ server: { answers: true, data_folder: null, pid: null }, store: null, disk: null });
});

test('status names a run that is evaluated on its validation text, whose steps are all done', async () => {
  const run = testRun({ step: 100n, liveStep: 100n });
  const server = await TestServer.start({ listRuns: () => ({ runs: [run], nextPageToken: '', total: 1 }) });
  const status = (...more: string[]) => runCli(['status', '--server', server.address, '--data-folder', folder, ...more]);
  const { stdout } = await status();
  const { runs } = JSON.parse((await status('--json')).stdout) as { runs: { active: object[] } };
  server.stop();
  expect(stdout).toMatch(/^abcdefghij23 +a name +evaluating +100\/100$/m);
  expect(runs.active).toMatchObject([{ run_id: 'abcdefghij23', status: 'evaluating' }]);
});

test('status names the cause for which a run does not go on', async () => {
  const waitingFor = { code: 'ARTIFACT_STORE_FULL', message: 'no space left', command: '', since: undefined };
  const server = await TestServer.start({ listRuns: () => ({ runs: [testRun({ waitingFor })], nextPageToken: '', total: 1 }) });
  const status = (...more: string[]) => runCli(['status', '--server', server.address, '--data-folder', folder, ...more]);
  const { stdout } = await status();
  const { runs } = JSON.parse((await status('--json')).stdout) as { runs: { active: object[] } };
  server.stop();
  expect(stdout).toMatch(/^abcdefghij23 .* training, ARTIFACT_STORE_FULL /m);
  expect(runs.active).toMatchObject([{ status: 'training', waits_for: 'ARTIFACT_STORE_FULL' }]);
});

test('while a server starts, no other server is asked in its place, and down stops it', async () => {
  announce(folder, { pid: process.pid });
  expect(await runCli(['runs', '--data-folder', folder])).toMatchObject({
    exitCode: 4,
    stderr: expect.stringMatching(/SERVER_UNAVAILABLE: the server of .* has not started yet/),
  });
  expect((await runCli(['status', '--data-folder', folder])).exitCode).toBe(4);
});

test('a data folder with other things in place of its files keeps no command waiting', async () => {
  for (const name of ['espalier.json', 'token']) execFileSync('mkfifo', [join(folder, name)]);
  expect((await runCli(['status', '--data-folder', folder])).exitCode).toBe(4);
  rmSync(join(folder, 'espalier.json'));
  announce(folder, { listen: await deadAddress(), pid: process.pid });
  expect((await runCli(['runs', '--data-folder', folder])).exitCode).toBe(4);
});

test('open does not wait for a token that is not a file', async () => {
  execFileSync('mkfifo', [join(folder, 'token')]);
  const process = spawn('sh', ['-c', ': orchestrator; sleep 60'], { stdio: 'ignore' });
  announce(folder, { listen: '127.0.0.1:7501', web: 'http://127.0.0.1:7502', pid: process.pid });
  const { exitCode, stdout } = await runCli(['open', '--print', '--data-folder', folder]);
  process.kill();
  expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: 'http://127.0.0.1:7502/\n' });
});

test('a command on a data folder without a server asks no other server, and names the way to start one', async () => {
  const stopped = { exitCode: 4, stderr: expect.stringContaining(`SERVER_UNAVAILABLE: no server runs on ${folder}\n`) as string };
  for (const command of [['runs'], ['delete', 'abcdefghij23'], ['gc']]) {
    const result = await runCli([...command, '--data-folder', folder]);
    expect(result).toMatchObject(stopped);
    expect(result.stderr).toContain(`espalier --data-folder ${folder} up --detach`);
  }
  expect(await runCli(['runs'], { env: { ESPALIER_DATA_FOLDER: folder } })).toMatchObject(stopped);
  expect((await runCli(['status', '--data-folder', folder])).stdout).toMatch(/^server +not running; start it with: espalier up/);
});

test('an empty name is not a data folder', async () => {
  for (const command of ['runs', 'down', 'status'])
    expect(await runCli([command, '--data-folder', ''])).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/--data-folder/) });
});

describe("another user's data folder", () => {
  const asAnother = (...args: string[]): Promise<CliResult> =>
    runProcess([...args, '--data-folder', join(folder, 'theirs')], process.getuid?.() === 0 ? { uid: 65_534 } : {});
  beforeEach(() => {
    announce(join(folder, 'theirs'), { listen: '127.0.0.1:7501', pid: process.pid });
    chmodSync(join(folder, 'theirs'), process.getuid?.() === 0 ? 0o700 : 0);
  });
  afterEach(() => chmodSync(join(folder, 'theirs'), 0o700));

  test.each(['runs', 'down', 'up', 'logs', 'open', 'store stats'])('%s says that it may not look into it', async (command) => {
    expect(await asAnother(...command.split(' '))).toMatchObject({
      exitCode: 4,
      stderr: expect.stringMatching(/^error DATA_FOLDER_UNREADABLE: .* is another user's/),
    });
  });

  test('status too, and not that no server runs', async () => {
    const { exitCode, stdout } = await asAnother('status');
    expect(exitCode).toBe(4);
    expect(stdout).toMatch(/^server +DATA_FOLDER_UNREADABLE: .* is another user's/);
    expect(stdout).not.toMatch(/not running/);
  });

  test('logs names a file in a folder that is open to all but may not be read itself', async () => {
    chmodSync(join(folder, 'theirs'), 0o755);
    writeFileSync(join(folder, 'theirs', 'server.log'), '', { mode: 0 });
    expect(await asAnother('logs')).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/FILE_NOT_PERMITTED/) });
  });

  test.each([
    ['TOKEN_NEEDED', 'asks for its token'],
    ['TOKEN_WRONG', 'has another token'],
  ])('a server that answers %s is as far away as one that does not answer', async (code, words) => {
    const refuses = (): never => {
      throw new EspalierError(code, 'the server says no');
    };
    const server = await TestServer.start({ listRuns: refuses });
    const result = await runCli(['runs', '--server', server.address, '--data-folder', folder]);
    const json = await runCli(['runs', '--json', '--server', server.address, '--data-folder', folder]);
    server.stop();
    expect(result).toMatchObject({ exitCode: 4, stderr: expect.stringContaining(`${code}: the server at ${server.address} ${words}`) });
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code }, exit_code: 4 });
  });
});

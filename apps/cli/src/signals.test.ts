// Tests that one SIGINT or SIGTERM ends any command, whatever it waits for, and leaves no unfinished work behind.
// signals.long.test.ts has a quickstart that trains.
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { v1 } from '#protocol';
import { isAlive, readServerFile } from './connection/server-address.js';
import { runProcess } from './testing/run-cli.js';
import { testExport, testRun, TestServer, type Answers } from './testing/test-server.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'signals-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A server that takes a call and never answers; `asked` resolves when the call arrives. */
function silentServer(): { answers: Answers; asked: Promise<void> } {
  let hear: () => void;
  const asked = new Promise<void>((resolve) => (hear = resolve));
  const never = async (): Promise<never> => {
    hear();
    return new Promise(() => undefined);
  };
  const silence = async function* (_: unknown, signal: AbortSignal): AsyncGenerator<never> {
    hear();
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
  };
  const answers: Answers = {
    ...testExport().answers,
    launchRun: never,
    forkRun: never,
    pauseRun: never,
    listRuns: never,
    planRun: never,
    readHistory: never,
    watchRun: silence,
    watchHistory: silence,
    evaluateRun: silence,
    verifyRun: silence,
    exportAudit: silence,
    exportMetrics: silence,
    downloadArtifact: async function* () {
      yield v1.DownloadArtifactResponse.fromPartial({ chunk: Buffer.from('{'), totalBytes: 7n });
      await never();
    },
  };
  return { answers, asked };
}

test.each<[NodeJS.Signals, number, string[]]>([
  ['SIGINT', 130, ['launch', '--model', 'm', '--data', 'd']],
  ['SIGTERM', 143, ['launch', '--model', 'm', '--data', 'd']],
  ['SIGINT', 130, ['fork', 'abcd', '--last']],
  ['SIGTERM', 143, ['plan', '--model', 'm']],
  ['SIGINT', 130, ['pause', 'abcd']],
  ['SIGTERM', 143, ['runs']],
  ['SIGINT', 130, ['history', 'abcd']],
  ['SIGTERM', 143, ['history', '--follow']],
  ['SIGTERM', 143, ['watch', 'abcd']],
  ['SIGINT', 130, ['eval', 'abcd']],
  ['SIGTERM', 143, ['verify', 'abcd', '--replay']],
  ['SIGINT', 130, ['audit', 'export', 'abcd', '--out', 'a.tar']],
  ['SIGTERM', 143, ['metrics', 'abcd', '--export', 'csv', '--out', 'm.csv']],
  ['SIGTERM', 143, ['export', 'abcd', '--out', 'model']],
  ['SIGINT', 130, ['export', 'abcd', '--out', 'model']],
])('%s ends with %i: %j', async (signal, exitCode, args) => {
  const { answers, asked } = silentServer();
  const server = await TestServer.start(answers);
  try {
    const stop = asked.then(async () => {
      await sleep(100);
      return signal;
    });
    const result = await runProcess(args, { env: { ESPALIER_SERVER: server.address }, cwd: folder, stop });
    expect(result).toMatchObject({ exitCode, stderr: '' });
    if (['eval', 'export', 'verify'].includes(args[0]!)) expect(result.stdout).toMatch(/^stopped: .*\n$/);
    expect(await readdir(folder)).toEqual([]);
  } finally {
    server.stop();
  }
});

test('a lost server that is waited for', async () => {
  const server = await TestServer.start({
    async *watchRun(_, signal) {
      yield v1.WatchRunResponse.fromPartial({ run: testRun(), revision: 9n });
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
    },
  });
  let stopNow: (signal: NodeJS.Signals) => void;
  const stop = new Promise<NodeJS.Signals>((resolve) => (stopNow = resolve));
  const result = await runProcess(['watch', 'abcd'], {
    env: { ESPALIER_SERVER: server.address },
    stop,
    onOutput: () => {
      server.stop();
      void sleep(2000).then(() => stopNow('SIGTERM'));
    },
  });
  expect(result.exitCode).toBe(143);
  expect(result.stderr).toMatch(/connection lost/);
});

test.each(['up --detach', 'quickstart'])('%s: a start that is given up leaves no server', async (command) => {
  const started = (async (): Promise<NodeJS.Signals> => {
    while (!existsSync(join(folder, 'orchestrator.id'))) await sleep(10);
    return 'SIGINT';
  })();
  const listen = command === 'quickstart' ? [] : ['--listen', '127.0.0.1:0'];
  const result = await runProcess([...command.split(' '), ...listen, '--data-folder', folder], { stop: started });
  expect(result.exitCode).toBe(130);
  const pid = readServerFile(folder)?.pid;
  for (let waited = 0; pid !== undefined && isAlive(pid) && waited < 120_000; waited += 100) await sleep(100);
  expect(pid !== undefined && isAlive(pid)).toBe(false);
});

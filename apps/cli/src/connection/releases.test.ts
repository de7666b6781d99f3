// Tests what a command says of a server of another release.
import { ServerCredentials } from '@grpc/grpc-js';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execPath } from 'node:process';
import { ownVersion } from '#files';
import { releaseOf, v1 } from '#protocol';
import { runCli } from '../testing/run-cli.js';
import { refusal, testRun, TestServer, type Answers } from '../testing/test-server.js';

const EARLIER = '0.0.9 1';
const UNLIKE = releaseOf(ownVersion()).replace(/\S+$/, '00000000');
const LATER = '9999.0.0 1';
let server: TestServer | undefined;
afterEach(() => server?.stop());

const refused = (): never => {
  throw refusal('FIELD_UNKNOWN', 'there is no such field', 'settings.999');
};
const answers: Answers = {
  getRun: refused,
  verifyRun: refused,
  listRuns: () => ({ runs: [testRun()], nextPageToken: '', total: 1 }),
  listEngines: () => v1.ListEnginesResponse.fromPartial({}),
  async *watchRun() {
    yield v1.WatchRunResponse.fromPartial({ run: testRun() });
    yield v1.WatchRunResponse.fromPartial({ run: testRun({ status: v1.RunStatus.RUN_STATUS_COMPLETED }) });
  },
};

/** Starts a server of a release, and returns its address. */
async function serverOf(release: string | undefined): Promise<string> {
  server = await TestServer.start(answers, undefined, ServerCredentials.createInsecure(), release);
  return server.address;
}

test('a server of the same release is not mentioned', async () => {
  const { stderr } = await runCli(['runs', '--server', await serverOf(undefined)]);
  expect(stderr).toBe('');
});

test('a named server of another release is said once a command, in one line, with what helps', async () => {
  const address = await serverOf(EARLIER);
  const earlier = `warning: the server at ${address} is older than this command, and may lack what the command has: update the server `;
  for (const command of [['runs'], ['watch', 'abcd']])
    expect((await runCli([...command, '--server', address])).stderr.replaceAll(/\s+/g, ' ')).toBe(earlier);
  server?.stop();
  const { stderr, stdout } = await runCli(['runs', '--json', '--server', await serverOf(LATER)]);
  expect(JSON.parse(stderr)).toMatchObject({
    warning: {
      code: 'SERVER_OF_LATER_RELEASE',
      message: expect.stringMatching(
        /^this command is older than the server at \S+, and may lack what the server has: update the command$/,
      ),
    },
  });
  expect(JSON.parse(stdout)).toMatchObject({ total: 1 });
});

test('a server of another build of the release is said to apply its own defaults', async () => {
  const address = await serverOf(UNLIKE);
  const { stderr } = await runCli(['runs', '--json', '--server', address]);
  const message =
    `the server at ${address} is another build of this command's release. Its defaults of settings apply: ` + 'update the older of both';
  expect(JSON.parse(stderr)).toMatchObject({ warning: { code: 'SERVER_OF_OTHER_BUILD', message } });
});

test('a server of another release that refuses a call is said once, before the refusal', async () => {
  for (const command of [
    ['show', 'abcd'],
    ['verify', 'abcd'],
  ]) {
    const { stderr, exitCode } = await runCli([...command, '--json', '--server', await serverOf(LATER)]);
    expect(exitCode).toBe(2);
    expect(
      stderr
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as object),
    ).toMatchObject([{ warning: { code: 'SERVER_OF_LATER_RELEASE' } }, { error: { code: 'FIELD_UNKNOWN' } }]);
    server?.stop();
  }
});

test("up beside the data folder's server of an older version says how to have this one", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'older-server-'));
  // A server is known by its process, whose command line has this word.
  const process = spawn(execPath, ['-e', 'setInterval(() => {}, 1_000)', 'orchestrator']);
  try {
    writeFileSync(join(folder, 'espalier.json'), JSON.stringify({ listen: await serverOf(EARLIER), pid: process.pid }));
    const { stderr, stdout, exitCode } = await runCli(['up', '--detach', '--data-folder', folder]);
    expect({ exitCode, stdout }).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^already running at /) });
    expect(stderr.replaceAll(/\s+/g, ' ')).toBe(
      `warning: the server at ${server!.address} is older than this command, and may lack what the command has: ` +
        "`espalier down`, then `espalier up` starts this command's server, and its runs go on ",
    );
  } finally {
    process.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  }
});

// Tests GGUF files in the place of a model's folder.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ggufCache } from '#gguf';
import { v1 } from '#protocol';
import { runCli, type CliResult } from '../testing/run-cli.js';
import { testRun, TestServer } from '../testing/test-server.js';
import { ggufBytes, smallLlama } from '../../../../libs/gguf/src/testing/write-gguf.js';
import { TestHub } from '../../../../libs/hub/src/testing/test-hub.js';

let folder: string;
let hub: TestHub;
let server: TestServer;
let launched: v1.LaunchRunRequest | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gguf-files-'));
  await writeFile(join(folder, 'tiny.gguf'), ggufBytes(smallLlama()));
  hub = await TestHub.start();
  hub.put('models/org/files', { 'tiny.Q8_0.gguf': ggufBytes(smallLlama(2)), 'tiny.Q2_K.gguf': 'other' });
  server = await TestServer.start({
    launchRun: (request) => {
      launched = request;
      return v1.LaunchRunResponse.fromPartial({ run: testRun() });
    },
  });
});
beforeEach(() => (launched = undefined));
afterAll(async () => {
  server.stop();
  await hub.stop();
  await rm(folder, { recursive: true, force: true });
});

const cache = (): NodeJS.ProcessEnv => ({ XDG_CACHE_HOME: join(folder, 'cache') });
function cli(args: string[], address = server.address): Promise<CliResult> {
  const env = { ESPALIER_SERVER: address, HF_HOME: join(folder, 'home'), HF_ENDPOINT: hub.address, HF_HUB_OFFLINE: '' };
  return runCli(args, { env: { ...env, XDG_CACHE_HOME: join(folder, 'cache') }, cwd: folder });
}

test('a launch and pull make the folder of a file once, in the cache of Espalier', async () => {
  expect((await cli(['launch', '--model', 'tiny.gguf', '--data', 'x.jsonl', '--json'])).stderr).toBe('');
  expect(launched!.modelPath).toMatch(new RegExp(`^${ggufCache(cache())}/[0-9a-f]{64}-\\d+$`));
  const { stdout } = await cli(['pull', 'tiny.gguf']);
  expect(stdout).toBe(`${launched!.modelPath}\n`);
});

test('a file of a repository is fetched alone, and a repository of such files names them', async () => {
  const { stdout } = await cli(['pull', 'org/files/tiny.Q8_0.gguf']);
  await cli(['launch', '--model', 'org/files/tiny.Q8_0.gguf', '--data', 'x.jsonl', '--json']);
  expect(`${launched!.modelPath}\n`).toBe(stdout);
  expect(hub.requests.filter(({ path }) => path.includes('Q2_K'))).toEqual([]);
  const whole = await cli(['launch', '--model', 'org/files', '--data', 'x.jsonl']);
  expect([whole.exitCode, whole.stderr]).toEqual([3, expect.stringContaining('org/files/FILE.gguf, and it has tiny.Q') as string]);
});

test.each([
  ['a file that is not there', ['--model', 'nothing.gguf'], 3, 'FILE_NOT_FOUND'],
  ['a damaged file', ['--model', 'broken.gguf'], 2, 'GGUF_INVALID'],
])('%s is an error with its name, before the server is asked', async (_, model, exitCode, code) => {
  await writeFile(join(folder, 'broken.gguf'), ggufBytes(smallLlama()).subarray(0, 900));
  const refused = await cli(['launch', ...model, '--data', 'x.jsonl']);
  expect([refused.exitCode, refused.stderr, launched]).toEqual([exitCode, expect.stringContaining(code) as string, undefined]);
  expect(refused.stderr).toContain(model[1]);
});

test('a server on another machine reads its own files', async () => {
  const { exitCode, stderr } = await cli(['launch', '--model', 'tiny.gguf', '--data', 'x.jsonl'], '203.0.113.7:7433');
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining('GGUF_ELSEWHERE') as string]);
  expect(stderr).toContain(`espalier pull ${join(folder, 'tiny.gguf')}`);
});

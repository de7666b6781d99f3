// Tests the data of tasks that are fetched from a server that speaks the hub's protocol.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v1 } from '#protocol';
import { builtInTasks, findTasks } from '#tasks';
import { runCli, type CliResult } from '../testing/run-cli.js';
import { TestServer } from '../testing/test-server.js';
import { sha256, TestHub } from '../../../../libs/hub/src/testing/test-hub.js';

const TEST = '{"q":"France","a":"Paris"}\n'.repeat(200);
const DEV = '{"q":"Italy","a":"Rome"}\n';
let folder: string;
let server: TestServer;
let hub: TestHub;
let commit: string;
let asked: v1.EvaluateTasksRequest | undefined;

beforeAll(async () => {
  hub = await TestHub.start();
  server = await TestServer.start({
    async *evaluateTasks(request) {
      asked = request;
      yield v1.EvaluateTasksResponse.fromPartial({ evaluations: [{ subject: 'intact', task: 'capitals', metric: 'acc' }] });
    },
  });
});
afterAll(async () => {
  server.stop();
  await hub.stop();
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'task-files-'));
  commit = hub.put('datasets/org/geo', { 'all/test-00000-of-00001.jsonl': TEST, 'geo_dev.jsonl': DEV, 'other.jsonl': '{}' });
  hub.requests.length = 0;
  asked = undefined;
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function taskFile(digest = sha256(Buffer.from(TEST))): Promise<string> {
  const data = {
    folder: 'geo',
    split: 'test',
    hub: {
      name: `org/geo@${commit}`,
      files: { test: { path: 'all/test-00000-of-00001.jsonl', sha256: digest }, dev: { path: 'geo_dev.jsonl' } },
    },
  };
  const shots = { count: 1, split: 'dev' };
  const task = { task: 'capitals', data, prompt: '{{q}}', choices: ['{{a}}', 'Oslo'], gold: 'right', metrics: ['acc'], shots };
  const path = join(folder, 'capitals.yaml');
  await writeFile(path, JSON.stringify(task));
  return path;
}
const evaluate = (tasks: string, env: Record<string, string> = {}): Promise<CliResult> =>
  runCli(['eval', '--model', '/models/llama', '--tasks', tasks], {
    env: {
      ESPALIER_SERVER: server.address,
      HF_ENDPOINT: hub.address,
      HF_HOME: join(folder, 'hf'),
      HF_HUB_OFFLINE: '',
      XDG_CACHE_HOME: folder,
      ...env,
    },
  });

test("the splits lie in the task's folder under their names, from the commit that the task names, and are fetched once", async () => {
  const path = await taskFile();
  hub.put('datasets/org/else', {});
  expect((await evaluate(path)).stderr).toBe('');
  const { taskDataPath, tasks } = asked!;
  expect(tasks).toEqual([path]);
  expect((await readdir(join(taskDataPath, 'geo'))).sort()).toEqual(['dev.jsonl', 'test.jsonl']);
  expect(await readFile(join(taskDataPath, 'geo/test.jsonl'), 'utf8')).toBe(TEST);
  expect(await readdir(join(folder, 'hf/hub/datasets--org--geo/snapshots'))).toEqual([commit]);
  hub.requests.length = 0;
  const offline = { HF_HUB_OFFLINE: '1' };
  expect((await evaluate(path, offline)).exitCode).toBe(0);
  expect([asked!.taskDataPath, hub.requests]).toEqual([taskDataPath, []]);
  expect(await evaluate(path, { ...offline, HF_HOME: join(folder, 'empty') })).toMatchObject({
    exitCode: 3,
    stderr: expect.stringContaining('HUB_OFFLINE') as string,
  });
});

test('a file with another digest than the task names is refused, and no server is asked', async () => {
  const { exitCode, stderr } = await evaluate(await taskFile('0'.repeat(64)));
  expect([exitCode, asked]).toEqual([1, undefined]);
  expect(stderr).toMatch(/has the SHA-256 [0-9a-f]{64}; by the task all\/test-00000-of-00001\.jsonl of org\/geo@[0-9a-f]{40} has 0{64}/);
});

test('a task that names no data set is refused with --task-data', async () => {
  const { exitCode, stderr } = await evaluate('lambada,piqa');
  expect([exitCode, hub.requests]).toEqual([2, []]);
  expect(stderr).toContain('lambada names no data set of the hub, so --task-data is needed');
});

test('the seven tasks and mmlu name their splits on the hub', async () => {
  const { scored } = await findTasks(await builtInTasks());
  const named = scored.filter(({ data }) => data.hub !== undefined);
  expect(named.map(({ task }) => task).sort()).toEqual(
    ['arc_challenge', 'arc_easy', 'boolq', 'hellaswag', 'mmlu', 'openbookqa', 'piqa', 'winogrande'], // prettier-ignore
  );
  for (const { data } of named) expect(Object.keys(data.hub!.files)).toContain(data.split);
});

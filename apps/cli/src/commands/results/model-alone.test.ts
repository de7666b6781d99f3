// Tests eval and generate of a model without a run.
import { v1 } from '#protocol';
import { runCli, type CliResult } from '../../testing/run-cli.js';
import { TestServer } from '../../testing/test-server.js';

let server: TestServer;
let asked: object = {};
const evaluation = v1.Evaluation.fromPartial({ subject: 'intact', task: 'boolq', metric: 'acc', value: 0.5, n: 4n, convention: '0 shots' });
beforeAll(async () => {
  server = await TestServer.start({
    async *evaluateRun(request) {
      asked = request;
      yield v1.EvaluateRunResponse.fromPartial({ evaluation: { ...evaluation, task: 'text', metric: 'perplexity', value: 6.5 } });
    },
    async *evaluateTasks(request) {
      asked = request;
      yield v1.EvaluateTasksResponse.fromPartial({ evaluations: [evaluation] });
    },
    async *generate(request) {
      asked = request;
      yield v1.GenerateResponse.fromPartial({ outcome: { generatedTokens: 1n } });
    },
  });
});
afterAll(() => server.stop());
const cli = (...args: string[]): Promise<CliResult> => runCli(args, { env: { ESPALIER_SERVER: server.address } });

test('eval names the model, and no run and no step', async () => {
  const { stdout } = await cli('eval', '--model', '/models/llama', '--data', '/texts/a.jsonl');
  expect(asked).toMatchObject({ runId: '', modelPath: '/models/llama', dataPath: '/texts/a.jsonl' });
  expect(stdout).toMatch(/^perplexity 6\.5\d* \(\/models\/llama, 0 shots, over 4\)\n$/);
  const tasks = await cli('eval', '--model', '/models/llama/config.json', '--tasks', 'boolq', '--task-data', '/tasks');
  expect(asked).toMatchObject({ runId: '', modelPath: '/models/llama', tasks: ['boolq'] });
  expect(tasks.stdout).toMatch(/boolq +acc +0\.5[^]*\n\/models\/llama\n$/);
});

test('generate takes every argument for a prompt', async () => {
  expect((await cli('generate', '--model', '/models/llama', 'Once upon', 'There was')).exitCode).toBe(0);
  expect(asked).toMatchObject({ runId: '', modelPath: '/models/llama', prompts: ['Once upon', 'There was'] });
});

test.each([
  [['eval'], 'a run is needed, or --model with a model'],
  [['eval', 'k3f9', '--model', '/m', '--data', '/t.jsonl'], 'leave the run out'],
  [['eval', '--model', '/m'], '--model needs --data, a text to measure, or --tasks with --task-data'],
  [['eval', '--model', '/m', '--data', '/t.jsonl', '--teacher', '3'], '--teacher is for a run, and --model has none'],
  [['generate', 'k3f9'], 'a run, or --model, and a prompt are needed'],
  [['generate', '--model', '/m'], 'a run, or --model, and a prompt are needed'],
])('%j is refused', async (args, words) => {
  const { exitCode, stderr } = await cli(...args);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(words) as string]);
});

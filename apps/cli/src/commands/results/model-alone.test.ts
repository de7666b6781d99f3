// Tests eval, generate, bench and export of a model without a run.
import { v1 } from '#protocol';
import { runCli, type CliResult } from '../../testing/run-cli.js';
import { TestServer } from '../../testing/test-server.js';

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

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
    async *benchRun(request) {
      asked = request;
      const dense = { prefillSeconds: 0.5, passSeconds: 0.01, prefillRatio: 1, passRatio: 1, parameterCount: 300n, weightBytes: 1_000n };
      yield v1.BenchRunResponse.fromPartial({
        outcome: { dense, rounds: 3, copyBytesPerSecond: 1e6, computeDtype: 'f32', format: 'gguf' },
      });
    },
    async *exportRun(request) {
      asked = request;
      yield v1.ExportRunResponse.fromPartial({ export: { digest: 'e'.repeat(64), format: 'gguf', dtype: 'bf16', parameterCount: 300n } });
    },
    statArtifact: () =>
      Promise.resolve(v1.StatArtifactResponse.fromPartial({ files: [{ name: 'model.gguf', bytes: 3n, digest: sha256('abc') }] })),
    async *downloadArtifact() {
      yield v1.DownloadArtifactResponse.fromPartial({ chunk: Buffer.from('abc') });
    },
  });
});
afterAll(() => server.stop());
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const cli = (...args: string[]): Promise<CliResult> => runCli(args, { env: { ESPALIER_SERVER: server.address } });

test('eval names the model, and no run and no step', async () => {
  const { stdout } = await cli('eval', '--model', '/models/llama', '--data', '/texts/a.jsonl');
  expect(asked).toMatchObject({ runId: '', modelPath: '/models/llama', dataPath: '/texts/a.jsonl' });
  expect(stdout).toMatch(/^perplexity 6\.5\d* \(\/models\/llama, 0 shots, over 4\)\n$/);
  const tasks = await cli('eval', '--model', '/models/llama/config.json', '--tasks', 'boolq', '--task-data', '/tasks');
  expect(asked).toMatchObject({ runId: '', modelPath: '/models/llama', tasks: ['boolq'] });
  expect(tasks.stdout).toMatch(/boolq +acc +0\.5[^]*\n\/models\/llama\n$/);
});

test('bench shows the times of the model', async () => {
  const { stdout } = await cli('bench', '--model', '/models/llama', '--batch', '2', '--format', 'gguf');
  expect(asked).toMatchObject({ runId: '', modelPath: '/models/llama', sequences: 2, format: 'gguf' });
  expect(stdout).toMatch(
    /intact +300 +1000 B +500.00 ms +200 tokens\/s\n\/models\/llama; 3 rounds in f32; parameters as in the format gguf/,
  );
});

test('export writes the model, and says how to measure it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'model-alone-'));
  const out = join(folder, 'llama.gguf');
  const { stdout } = await cli('export', '--model', '/models/llama', '--out', out);
  expect(asked).toMatchObject({ runId: '', modelPath: '/models/llama', format: 'gguf' });
  expect(stdout).toContain(`${out}: gguf, 300 parameters, 3 B, bf16\n`);
  expect(stdout).toContain(`evaluate it with: espalier eval --model ${out} --data TEXT`);
  expect(await readFile(out, 'utf8')).toBe('abc');
  const inFolder = join(folder, 'as-folder');
  const { stdout: ofFolder } = await cli('export', '--model', '/models/llama', '--format', 'gguf', '--out', inFolder);
  expect(ofFolder).toContain(`evaluate it with: espalier eval --model ${join(inFolder, 'model.gguf')} --data TEXT`);
  await rm(folder, { recursive: true });
});

test('generate takes every argument for a prompt', async () => {
  expect((await cli('generate', '--model', '/models/llama', 'Once upon', 'There was')).exitCode).toBe(0);
  expect(asked).toMatchObject({ runId: '', modelPath: '/models/llama', prompts: ['Once upon', 'There was'] });
});

test.each([
  [['eval'], 'a run is needed, or --model with a model'],
  [['eval', 'k3f9', '--model', '/m', '--data', '/t.jsonl'], 'leave the run out'],
  [['eval', '--model', '/m'], '--model needs --data, a text to measure, or --tasks'],
  [['eval', '--model', '/m', '--data', '/t.jsonl', '--teacher', '3'], '--teacher is for a run, and --model has none'],
  [['bench'], 'a run is needed, or --model with a model'],
  [['bench', 'k3f9', '--model', '/m'], 'leave the run out'],
  [['bench', '--model', '/m', '--export', 'abcd'], '--export is for a run, and --model has none'],
  [['export', '--out', '/o'], 'a run is needed, or --model with a model'],
  [['export', '--model', '/m', '--teacher', '3', '--out', '/o'], '--teacher is for a run, and --model has none'],
  [['generate', 'k3f9'], 'a run, or --model, and a prompt are needed'],
  [['generate', '--model', '/m'], 'a run, or --model, and a prompt are needed'],
])('%j is refused', async (args, words) => {
  const { exitCode, stderr } = await cli(...args);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(words) as string]);
});

// Tests the samples of two models in one file, and the JSON of evaluations by tasks.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v1 } from '#protocol';
import { runCli } from '../testing/run-cli.js';
import { TestServer } from '../testing/test-server.js';

const folder = mkdtempSync(join(tmpdir(), 'samples-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function question(index: number, value: number): string {
  const sample = { task: 'piqa', index, prompt: `Question ${index}: ö?`, choices: [' a', ' b'], gold: 0, loglikelihoods: [value, -9.25] };
  return `${JSON.stringify(sample)}\n`;
}

test('a line says which model was asked, and what; equal samples of two models are two', async () => {
  const digests = { intact: 'a'.repeat(64), masked: 'b'.repeat(64) };
  const texts: Record<string, string> = {
    [digests.intact]: question(0, -1.5) + question(1, -0.1),
    [digests.masked]: question(0, -2.75) + question(1, -3),
  };
  const server = await TestServer.start({
    getRun: () => ({ run: v1.Run.fromPartial({ runId: 'abcdefghij23' }) }),
    async *evaluateTasks({ intact, teacherMark }) {
      const about = intact
        ? { subject: 'intact', samplesDigest: digests.intact }
        : { subject: 'masked', teacherMark, step: 40n, stateDigest: 'c'.repeat(64), samplesDigest: digests.masked };
      const metrics = ['acc', 'acc_norm'].map((metric) => v1.Evaluation.fromPartial({ ...about, task: 'piqa', metric, value: 0.5, n: 2n }));
      yield v1.EvaluateTasksResponse.fromPartial({ evaluations: metrics });
    },
    async *downloadArtifact({ digest }) {
      // Chunks may end anywhere, also within a line or a character.
      for (const byte of Buffer.from(texts[digest]!)) yield v1.DownloadArtifactResponse.fromPartial({ chunk: Buffer.from([byte]) });
    },
  });
  const file = join(folder, 'samples.jsonl');
  const args = ['eval', 'first', '--tasks', 'piqa', '--task-data', folder, '--intact', '--teacher', '20', '--last', '--samples', file];
  const done = await runCli([...args, '--json', '--server', server.address]);
  const again = await runCli([...args, '--force', '--server', server.address]);
  server.stop();
  expect([done.stderr, done.exitCode, again.exitCode]).toEqual(['', 0, 0]);
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line) as object)).toEqual(
    [
      { subject: 'intact', teacher: null, step: 0, state: null, values: [-1.5, -0.1] },
      { subject: 'masked', teacher: 20, step: 40, state: 'c'.repeat(64), values: [-2.75, -3] },
      { subject: 'masked', teacher: null, step: 40, state: 'c'.repeat(64), values: [-2.75, -3] },
    ].flatMap(({ values, ...model }) =>
      values.map((value, index) => ({
        task: 'piqa',
        run: 'abcdefghij23',
        ...model,
        index,
        prompt: `Question ${index}: ö?`,
        choices: [' a', ' b'],
        gold: 0,
        loglikelihoods: [value, -9.25],
      })),
    ),
  );
  // A task has no perplexity over windows, and 0 would look like one.
  const [first] = JSON.parse(done.stdout) as Record<string, unknown>[];
  expect(first).toMatchObject({ value: 0.5, perplexity: null, negative_log_likelihood: null, predictions: null, window: null });
});

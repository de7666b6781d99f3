// Tests a run in the layout of MLflow's file store. The store is read by its own rules: names, three fields a line, meta files in YAML 1.1.
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { v1 } from '#protocol';
import { runCli, type CliResult } from '../testing/run-cli.js';
import { testRun, TestServer } from '../testing/test-server.js';

let folder: string;
let server: TestServer;
let run: v1.Run;
const launchedAt = new Date('2026-01-01T00:00:00.000Z');
const rows = [
  { branch: 0, attempt: 1, abandoned: false, step: 0, loss: 4.5, kl_loss: null, skipped: false, seconds: 0.25 },
  { branch: 0, attempt: 1, abandoned: true, step: 1, loss: 99, kl_loss: 7, skipped: false, seconds: 0.25 },
  { branch: 1, attempt: 2, abandoned: false, step: 1, loss: 1e-9, kl_loss: 0.5, skipped: true, seconds: 0.5 },
];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mlflow-'));
  server = await TestServer.start({
    getRun: () => v1.GetRunResponse.fromPartial({ run }),
    exportMetrics: async function* ({ format }: v1.ExportMetricsRequest) {
      expect(format).toBe('jsonl');
      const bytes = Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
      yield await Promise.resolve({ chunk: bytes.subarray(0, 100) }); // the chunk ends within a line
      yield { chunk: bytes.subarray(100) };
    },
  });
});
afterAll(async () => {
  server.stop();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(() => {
  const evaluation = {
    subject: 'masked',
    task: 'text',
    metric: 'perplexity',
    step: 2n,
    evaluatedAt: new Date(launchedAt.getTime() + 5000),
  };
  run = {
    ...testRun({ name: '1e3', note: 'and: "quoted"', tags: ['a/b', 'baseline'], launchedAt, launchedBy: 'yes' }),
    status: v1.RunStatus.RUN_STATUS_COMPLETED,
    endedAt: new Date(launchedAt.getTime() + 9000),
    evaluations: [
      v1.Evaluation.fromPartial({ ...evaluation, value: 6.5, headline: true }),
      v1.Evaluation.fromPartial({ ...evaluation, value: 7.5 }), // evaluated with other windows
      v1.Evaluation.fromPartial({ ...evaluation, task: 'boolq', metric: 'acc', value: 0.7 }),
    ],
  };
});

const cli = (out: string, ...more: string[]): Promise<CliResult> =>
  runCli(['metrics', 'abcd', '--export', 'mlflow', '--out', out, ...more], { env: { ESPALIER_SERVER: server.address } });

interface StoredRun {
  meta: Record<string, unknown>;
  metrics: Record<string, { timestamp: number; value: number; step: number }[]>;
  params: Record<string, string>;
  tags: Record<string, string>;
}

/** Reads the store as MLflow does. What MLflow would refuse throws. */
async function readStore(root: string): Promise<{ experiment: Record<string, unknown>; runs: StoredRun[] }> {
  const experiments = (await readdir(root)).filter((name) => name !== '.trash' && name !== 'models');
  expect(experiments).toHaveLength(1);
  const experimentFolder = join(root, experiments[0]!);
  const metaOf = async (path: string) =>
    parse(await readFile(join(path, 'meta.yaml'), 'utf8'), { version: '1.1' }) as Record<string, unknown>;
  const experiment = await metaOf(experimentFolder);
  expect(experiment).toMatchObject({ experiment_id: experiments[0], name: expect.any(String) as string, lifecycle_stage: 'active' });
  expect(experiments[0]).toMatch(/^[a-zA-Z0-9][\w-]{0,63}$/);
  const runs: StoredRun[] = [];
  for (const name of await readdir(experimentFolder)) {
    const path = join(experimentFolder, name);
    if (!(await lstat(path)).isDirectory() || ['tags', 'datasets', 'traces'].includes(name)) continue;
    expect(name).toMatch(/^[a-zA-Z0-9][\w-]{0,255}$/); // MLflow's check of run ids
    const meta = await metaOf(path);
    expect(meta).toMatchObject({ run_id: name, run_uuid: name, experiment_id: experiments[0] });
    for (const field of ['artifact_uri', 'end_time', 'lifecycle_stage', 'start_time', 'status', 'user_id', 'run_name'])
      expect(meta).toHaveProperty(field);
    expect((await lstat(fileURLToPath(String(meta['artifact_uri'])))).isDirectory()).toBe(true);
    const files = async (kind: string): Promise<[string, string][]> =>
      Promise.all(
        (await readdir(join(path, kind))).map(async (file): Promise<[string, string]> => {
          expect(file).toMatch(/^[/\w.\- :]*$/);
          return [file, await readFile(join(path, kind, file), 'utf8')];
        }),
      );
    const metrics = (await files('metrics')).map(([key, text]) => {
      const lines = text.split('\n');
      expect(lines.pop()).toBe('');
      const points = lines.map((line) => {
        expect(line).toMatch(/^-?\d+ \S+ -?\d+$/);
        const [timestamp, value, step] = line.split(' ').map(Number);
        expect(Number.isNaN(value)).toBe(false);
        return { timestamp: timestamp!, value: value!, step: step! };
      });
      expect(points.length).toBeGreaterThan(0);
      return [key, points] as const;
    });
    runs.push({
      meta,
      metrics: Object.fromEntries(metrics),
      params: Object.fromEntries(await files('params')),
      tags: Object.fromEntries(await files('tags')),
    });
  }
  return { experiment, runs };
}

test('a run is read back as it was recorded', async () => {
  const root = join(folder, 'mlruns');
  expect((await cli(root)).stderr).toBe('');
  const { runs } = await readStore(root);
  const start = launchedAt.getTime();
  expect(runs).toHaveLength(1);
  const [{ meta, metrics, params, tags }] = runs as [StoredRun];
  expect(meta).toMatchObject({ status: 3, start_time: start, end_time: start + 9000, run_name: '1e3', user_id: 'yes', tags: [] });
  expect(metrics['loss']).toEqual([
    { timestamp: start + 250, value: 4.5, step: 0 },
    { timestamp: start + 750, value: 1e-9, step: 1 }, // the abandoned step has no value
  ]);
  expect(metrics['kl_loss']).toEqual([{ timestamp: start + 750, value: 0.5, step: 1 }]);
  expect(metrics['skipped']!.map(({ value }) => value)).toEqual([0, 1]);
  expect(metrics['eval.perplexity']).toEqual([{ timestamp: start + 5000, value: 6.5, step: 2 }]);
  expect(metrics['eval.boolq acc']).toMatchObject([{ value: 0.7 }]);
  expect(Object.keys(metrics).sort()).toEqual(['eval.boolq acc', 'eval.perplexity', 'kl_loss', 'loss', 'seconds', 'skipped']);
  expect(params).toMatchObject({ target_sparsity: '0.5', total_steps: '100', seed: '42', model: '/models/llama' });
  expect(tags).toMatchObject({
    'mlflow.runName': '1e3',
    'mlflow.note.content': 'and: "quoted"',
    'espalier.run_id': run.runId,
    'espalier.tag.a_b': 'a/b',
  });
});

test('runs lie side by side, and one that is there is replaced with --force only', async () => {
  const root = join(folder, 'both');
  await cli(root);
  run = { ...run, runId: 'zzzzzzzzzz22' };
  expect((await cli(root)).stderr).toBe('');
  expect((await readStore(root)).runs).toHaveLength(2);
  const again = await cli(root);
  expect([again.exitCode, again.stderr]).toEqual([5, expect.stringContaining('FILE_EXISTS') as string]);
  run = { ...run, name: 'renamed', status: v1.RunStatus.RUN_STATUS_PAUSED, endedAt: undefined };
  expect((await cli(root, '--force')).stderr).toBe('');
  const { runs } = await readStore(root);
  expect(runs.map(({ meta }) => [meta['run_name'], meta['status'], meta['end_time']]).sort()).toContainEqual(['renamed', 1, null]);
  expect(runs).toHaveLength(2);
});

test("what is not MLflow's is left alone", async () => {
  const root = join(folder, 'mine');
  await mkdir(root);
  await writeFile(join(root, 'thesis.txt'), 'mine');
  const refused = await cli(root, '--force');
  expect([refused.exitCode, refused.stderr]).toEqual([5, expect.stringContaining('FILE_FOREIGN') as string]);
  expect(await readdir(root)).toEqual(['thesis.txt']);
  expect((await cli(join(root, 'thesis.txt'))).stderr).toContain('PATH_NOT_A_FOLDER');
  const place = (await readdir(join(folder, 'mlruns')))[0]!;
  const foreign = join(folder, 'foreign');
  const own = (await readdir(join(folder, 'mlruns', place))).find((name) => name !== 'meta.yaml')!;
  await mkdir(join(foreign, place, own), { recursive: true });
  await writeFile(join(foreign, place, 'meta.yaml'), 'name: theirs\n');
  run = testRun({ launchedAt });
  expect((await cli(foreign, '--force')).stderr).toContain(`${basename(own)} is not of Espalier`);
  expect((await runCli(['metrics', 'abcd', '--export', 'mlflow'], { env: { ESPALIER_SERVER: server.address } })).exitCode).toBe(2);
});

// Tests measurements of a model without a run on the real server: the values are those of the intact model of a run, and they are recorded
// under the digest of its weights.
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v1 } from '#protocol';
import { FACTBOOK_MODEL, FACTBOOK_VALIDATION, TestServer, unary } from './harness/server.js';

const server = TestServer.inNewFolder();
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'models-'));
  await mkdir(join(folder, 'data/capitals'), { recursive: true });
  const task = 'task: capitals\ndata: { folder: capitals, split: test }\nprompt: "The capital of {{q}} is"\nchoices: ["{{a}}", "{{b}}"]\n';
  await writeFile(join(folder, 'capitals.yaml'), `${task}gold: right\nmetrics: [acc]\n`);
  await writeFile(
    join(folder, 'data/capitals/test.jsonl'),
    '{"q":"France","a":"Paris","b":"Rome","right":0}\n{"q":"Italy","a":"Rome","b":"Paris","right":0}\n',
  );
  await server.start();
});
afterAll(async () => {
  await server.dispose();
  await rm(folder, { recursive: true, force: true });
});

async function last<T>(stream: AsyncIterable<T>): Promise<T> {
  let found: T | undefined;
  for await (const one of stream) found = one;
  return found!;
}
const perplexity = async (request: Partial<v1.EvaluateRunRequest>): Promise<v1.Evaluation> =>
  (
    await last<v1.EvaluateRunResponse>(
      server.runs.evaluateRun(v1.EvaluateRunRequest.fromPartial({ dataPath: FACTBOOK_VALIDATION, window: 64, tokens: 640, ...request })),
    )
  ).evaluation!;
const tasks = async (modelPath = FACTBOOK_MODEL): Promise<v1.Evaluation[]> =>
  (
    await last<v1.EvaluateTasksResponse>(
      server.runs.evaluateTasks(
        v1.EvaluateTasksRequest.fromPartial({ modelPath, tasks: [join(folder, 'capitals.yaml')], taskDataPath: join(folder, 'data') }),
      ),
    )
  ).evaluations;

it('has the perplexity of the intact model of a run, in the same bits', async () => {
  const alone = await perplexity({ modelPath: FACTBOOK_MODEL });
  const { runId } = await server.launch({ totalSteps: 2 }, { modelPath: FACTBOOK_MODEL });
  await server.completed(runId);
  const intact = await perplexity({ runId, intact: true });
  expect(alone).toMatchObject({
    subject: 'intact',
    value: intact.value,
    n: intact.n,
    dataDigest: intact.dataDigest,
    dataPath: FACTBOOK_VALIDATION,
  });
});

it('keeps its values under the digest of its weights, wherever they lie and after a restart', async () => {
  const [first] = await tasks();
  expect(first).toMatchObject({ task: 'capitals', metric: 'acc', n: 2n, samplesDigest: '' });
  await server.stop();
  await server.start();
  const copy = join(folder, 'copy');
  await cp(FACTBOOK_MODEL, copy, { recursive: true });
  expect(await tasks(copy)).toEqual([first]); // with the time of the first evaluation
});

it('writes texts', async () => {
  const request = v1.GenerateRequest.fromPartial({ modelPath: FACTBOOK_MODEL, prompts: ['The capital of France is'], maxTokens: 4 });
  expect((await last<v1.GenerateResponse>(server.runs.generate(request))).outcome).toMatchObject({ generatedTokens: 4n });
});

it('is measured in speed beside no other, and a run of the same weights shows what was measured', async () => {
  const request = v1.BenchRunRequest.fromPartial({ modelPath: FACTBOOK_MODEL, promptTokens: 4, tokens: 2, rounds: 2 });
  const { outcome } = await last<v1.BenchRunResponse>(server.runs.benchRun(request));
  expect(outcome).toMatchObject({ rounds: 2, compact: undefined, dense: { prefillRatio: 1 } });
  expect(outcome!.dense!.passSeconds).toBeGreaterThan(0);
  const { runId } = await server.launch({ totalSteps: 2 }, { modelPath: FACTBOOK_MODEL });
  const run = await server.completed(runId);
  const { prefillSeconds, passSeconds } = outcome!.dense!;
  expect(run.modelSpeeds).toMatchObject([{ promptTokens: 4, tokens: 2, rounds: 2, batch: 1, prefillSeconds, passSeconds }]);
  expect(run.modelEvaluations.map(({ subject, task }) => `${subject} ${task}`)).toEqual(['intact text', 'intact capitals']);
});

it('is exported as it is: the files are those of its digest, and they compute the same', async () => {
  const request = v1.ExportRunRequest.fromPartial({ modelPath: FACTBOOK_MODEL, format: 'hf', dtype: 'f32' });
  const made = (await last<v1.ExportRunResponse>(server.runs.exportRun(request))).export!;
  expect(made).toMatchObject({ format: 'hf', dtype: 'f32', stateDigest: '', proof: { window: 256 } });
  expect(made.proof!.loaders[0]).toMatchObject({ loader: "Espalier's own reader", outcome: 'agrees' });
  const { files } = await unary<v1.StatArtifactResponse>((done) => server.artifacts.statArtifact({ digest: made.digest }, done));
  const out = join(folder, 'out');
  await mkdir(out);
  for (const { name, digest } of files) {
    const chunks: Uint8Array[] = [];
    for await (const { chunk } of server.artifacts.downloadArtifact({ digest, offset: 0n })) chunks.push(chunk);
    await writeFile(join(out, name), Buffer.concat(chunks));
  }
  expect((await perplexity({ modelPath: out })).value).toBe((await perplexity({ modelPath: FACTBOOK_MODEL })).value);
});

it.each([
  ['a run beside it', { modelPath: FACTBOOK_MODEL, runId: 'abcd' }, /names the model: leave out run_id, intact/],
  ['a teacher', { modelPath: FACTBOOK_MODEL, teacherMark: 3 }, /leave out run_id, intact, export_digest and teacher_mark/],
  ['no text', { modelPath: FACTBOOK_MODEL, dataPath: '' }, /data_path: is needed with model_path/],
])('refuses %s', async (_, request, words) => {
  await expect(perplexity(request)).rejects.toThrow(words);
});

it('has a chain that verify --all checks', async () => {
  const { summary } = await last<v1.VerifyAllResponse>(server.history.verifyAll(v1.VerifyAllRequest.fromPartial({})));
  expect(summary).toMatchObject({ ok: true, problems: [] });
});

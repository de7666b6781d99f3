// Tests measurements of a model without a run on the real server: the values are those of the intact model of a run, and they are recorded
// under the digest of its weights.
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v1 } from '#protocol';
import { FACTBOOK_MODEL, FACTBOOK_VALIDATION, TestServer } from './harness/server.js';

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

// Tests that a launch is recorded at once, and that the model is read and the text tokenized within the run. Deaths meanwhile and runs of
// more texts are in preparing.long.test.ts.
import { execFileSync } from 'node:child_process';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { v1 } from '#protocol';
import { PreparingServer, SHORT } from './harness/preparing-server.js';
import { recordProblems } from './harness/record-checks.js';
import { CLOSELY_MS, codeOf, collect, CORPUS, TINY_MODEL, unary } from './harness/server.js';

const { RUN_STATUS_PREPARING, RUN_STATUS_FAILED } = v1.RunStatus;
const preparing = new PreparingServer();
const { server, folder, shortText, launchLong, typesOf, cancel } = preparing;

beforeAll(() => server.start());
afterAll(() => preparing.dispose());

test('is recorded at once, seen to be prepared, and keeps no other run from training', async () => {
  const launched = await launchLong();
  expect(launched).toMatchObject({ status: RUN_STATUS_PREPARING, weightsDigest: '', settings: { totalSteps: 20 } });
  expect(launched.parameterCount).toBeGreaterThan(0n);
  const { runId } = launched;
  const watched = collect(server.runs.watchRun({ runId, follow: false, afterRevision: undefined }));
  const other = await server.launch(SHORT);
  const shared = await server.until(runId, ({ preparation }) => (preparation?.doneShare ?? 0) > 0, CLOSELY_MS);
  expect(shared.preparation!.doing).toMatch(/tokenizing the training text/);

  // Every question about a run that is not prepared gets an answer.
  const { runs } = await unary<v1.ListRunsResponse>((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({}), done));
  expect(runs.find((run) => run.runId === runId)!.preparation).toBeDefined();
  const pair = { leftRunId: runId, rightRunId: other.runId };
  await unary((done) => server.runs.compareRuns(pair, done));
  await unary((done) => server.runs.getLineage({ runId }, done));
  const audit = v1.ExportAuditRequest.fromPartial({ runId });
  expect((await collect(server.history.exportAudit(audit))).length).toBeGreaterThan(0);
  const evaluation = collect(server.runs.evaluateRun(v1.EvaluateRunRequest.fromPartial({ runId, dataPath: CORPUS, intact: true })));
  expect(codeOf(await evaluation.catch((error: unknown) => error))).toBe('RUN_NOT_STARTED');

  await server.completed(other.runId);
  const run = await server.completed(runId);
  expect(run.weightsDigest).toMatch(/^[0-9a-f]{64}$/);
  expect(run.preparation).toBeUndefined();
  expect((await typesOf(runId)).slice(0, 3)).toEqual(['RunLaunched', 'RunPrepared', 'AttemptStarted']);
  expect(recordProblems(await server.events(runId))).toEqual([]);
  const shares = (await watched).flatMap(({ run: one }) => (one?.preparation === undefined ? [] : [one.preparation.doneShare]));
  expect(shares.length).toBeGreaterThan(1);
  expect(shares).toEqual([...shares].sort((left, right) => left - right));
});

test('what is wrong with the text fails the run, with the code and the field of the launch', async () => {
  const bad = join(folder, 'bad.jsonl');
  writeFileSync(bad, `${'{"text":"fine"}\n'.repeat(50)}{"text":7}\n`);
  const { runId } = await server.launch(SHORT, { data: { trainPath: bad, validationPath: '' } });
  const run = await server.until(runId, ({ status }) => status === RUN_STATUS_FAILED);
  expect(run.failure).toMatchObject({
    code: 'DATA_MALFORMED',
    field: 'data.train_path',
    message: expect.stringContaining('line 51') as string,
  });
  const short = await server.launch({ ...SHORT, batchSize: 64 }, { data: { trainPath: CORPUS, validationPath: CORPUS } });
  expect((await server.until(short.runId, ({ status }) => status !== RUN_STATUS_PREPARING)).failure?.code ?? '').toMatch(
    /^(DATA_TOO_SHORT)?$/,
  );
  await cancel(short.runId).catch(() => undefined);
});

test('what a run that could not be prepared leaves is not a stranger: a later run of the text finds it', async () => {
  const unknownFiles = async (): Promise<string[]> => (await collect(server.history.verifyAll({}))).at(-1)!.summary!.unknown;
  const before = await unknownFiles();
  const brief = join(folder, 'brief.jsonl');
  writeFileSync(brief, '{"text":"a b c d e f g h i j k l m"}\n');
  const { runId } = await server.launch(SHORT, { data: { trainPath: shortText(), validationPath: brief } });
  const run = await server.until(runId, ({ status }) => status === RUN_STATUS_FAILED);
  expect(run.failure).toMatchObject({ code: 'DATA_TOO_SHORT', field: 'data.validation_path' });
  expect(await unknownFiles()).toEqual(before);
});

test('a wrong beginning of a text is refused before there is a run, in any form', async () => {
  const count = async (): Promise<number> =>
    (await unary<v1.ListRunsResponse>((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({}), done))).total;
  const before = await count();
  const file = (name: string, content: string): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const refusal = (data: object) =>
    server.launch(SHORT, { data }).then(
      () => 'launched',
      (error: unknown) => error,
    );
  expect(await refusal({ trainPath: file('second.jsonl', '{"text":"fine"}\n{"txt":"no"}\n') })).toMatchObject({
    code: 'DATA_MALFORMED',
    field: 'data.train_path',
    message: expect.stringMatching(/line 2: the field "text" is missing \(there are: txt\)/) as string,
  });
  expect(await refusal({ trainPath: CORPUS, validationPath: file('other.csv', 'words\none\n') })).toMatchObject({
    code: 'DATA_MALFORMED',
    field: 'data.validation_path',
  });
  expect(await refusal({ trainPath: file('blank.jsonl', '{"text":""}\n\n') })).toMatchObject({ code: 'DATA_EMPTY' });
  expect(await refusal({ trainPath: CORPUS, moreTrainPaths: [file('broken.json', '[{"text": "a"')] })).toMatchObject({
    code: 'DATA_MALFORMED',
    field: 'data.more_train_paths[0]',
  });
  expect(await count()).toBe(before);
});

test('what costs nothing to find is refused before anything is recorded', async () => {
  const fifo = join(folder, 'fifo.jsonl');
  execFileSync('mkfifo', [fifo]);
  const model = join(folder, 'model');
  cpSync(TINY_MODEL, model, { recursive: true });
  rmSync(join(model, 'tokenizer.json'));
  execFileSync('mkfifo', [join(model, 'tokenizer.json')]);
  const of = (more: object) => server.launch(SHORT, more).then(() => 'launched', codeOf);
  expect(await of({ data: { trainPath: fifo, validationPath: '' } })).toBe('FILE_NOT_REGULAR');
  expect(await of({ data: { trainPath: CORPUS, validationPath: join(folder, 'nothing.txt') } })).toBe('DATA_NOT_FOUND');
  expect(await of({ modelPath: model })).toBe('FILE_NOT_REGULAR');
  expect(await of({ modelPath: folder })).toBe('MODEL_NOT_FOUND');
  const planned = (modelPath: string): Promise<string> =>
    unary<v1.PlanRunResponse>((done) => server.runs.planRun(v1.PlanRunRequest.fromPartial({ modelPath }), done)).then(
      () => 'planned',
      codeOf,
    );
  expect(await planned(model)).toBe('FILE_NOT_REGULAR');
  rmSync(join(model, 'tokenizer.json'));
  expect(await planned(model)).toBe(await of({ modelPath: model }));
});

test('a launch that is cancelled before it is recorded launches nothing', async () => {
  const requestId = 'gone';
  server.signal('engine', 'SIGSTOP'); // so that no engine can look at the model
  const request = v1.LaunchRunRequest.fromPartial({ requestId, modelPath: TINY_MODEL, data: { trainPath: CORPUS }, settings: SHORT });
  const call = server.runs.launchRun(request, () => undefined);
  // Calls on the same connection arrive after the launch, and after its end.
  const heard = (): Promise<unknown> => unary((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({}), done));
  await heard();
  await sleep(500);
  call.cancel();
  await heard();
  server.signal('engine', 'SIGCONT');
  const again = await unary<v1.LaunchRunResponse>((done) => server.runs.launchRun(request, done));
  expect(again.alreadyLaunched).toBe(false);
});

test('text in several files, under another name and cut short is read the same by a fork and after its tokens were lost', async () => {
  const [csv, rows] = [join(folder, 'a.csv'), join(folder, 'b.jsonl')];
  writeFileSync(csv, `content\n${'"one, two, three and so on"\n'.repeat(60)}`);
  writeFileSync(rows, `${JSON.stringify({ content: 'four, five, six and so on' })}\n`.repeat(60));
  const data = { trainPath: csv, moreTrainPaths: [rows], textColumn: 'content', maxTrainTokens: 700n };
  const run = await server.completed((await server.launch(SHORT, { data })).runId);
  const unsaid = {
    validationPath: '',
    moreValidationPaths: [],
    maxValidationTokens: 0n,
    responseOnly: false,
    withoutValidation: false,
    trainWeights: [],
  };
  expect(run.data).toEqual({ ...data, ...unsaid });
  const from = { $case: 'lastState' as const, value: true };
  const request = v1.ForkRunRequest.fromPartial({ parentRunId: run.runId, from, settings: { totalSteps: 30 } });
  const { run: fork } = await unary<v1.ForkRunResponse>((done) => server.runs.forkRun(request, done));
  expect(fork!.data).toEqual(run.data);
  const refused = server.launch(SHORT, { data: { ...data, moreTrainPaths: [join(folder, 'none.csv')] } });
  await expect(refused).rejects.toThrow(/more_train_paths\[0\]|none\.csv/);
});

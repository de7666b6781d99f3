// Tests that a launch is recorded at once, and that the model is read and the text tokenized within the run.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { CLOSELY_MS, codeOf, collect, CORPUS, TestServer, TINY_MODEL, TRAINING_DATA, unary } from './harness/server.js';

const { RUN_STATUS_PREPARING, RUN_STATUS_FAILED, RUN_STATUS_CANCELLED, RUN_STATUS_PAUSED } = v1.RunStatus;
const SHORT = { totalSteps: 20, warmupSteps: 5 };
const server = TestServer.inNewFolder();
const folder = mkdtempSync(join(tmpdir(), 'espalier-preparing-'));
let texts = 0;

beforeAll(() => server.start());
afterAll(async () => {
  await server.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** A text that no run has read before. One of a hundred documents takes some seconds to tokenize. */
function newText(documents: number): string {
  const path = join(folder, `text-${(texts += 1)}.jsonl`);
  const lines = readFileSync(TRAINING_DATA, 'utf8').split('\n').slice(0, documents);
  writeFileSync(path, `${lines.join('\n')}\n{"text":"the ${texts}th"}\n`);
  return path;
}
const longText = (): string => newText(100);
const shortText = (): string => newText(4);
const launchLong = (text = longText()): Promise<v1.Run> => server.launch(SHORT, { data: { trainPath: text, validationPath: '' } });
const typesOf = async (runId: string): Promise<string[]> => (await server.events(runId)).map(({ type }) => type);
const cancel = (runId: string): Promise<unknown> => unary((done) => server.runs.cancelRun({ runId, reason: '' }, done));

test('is recorded at once, seen to be prepared, and keeps nobody from training', async () => {
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

test('survives the death of the orchestrator, and comes to the same', async () => {
  const text = longText();
  const { runId } = await launchLong(text);
  await server.until(runId, ({ preparation }) => (preparation?.doneShare ?? 0) > 0, CLOSELY_MS);
  await server.kill();
  await server.start();
  expect((await server.run(runId)).status).toBe(RUN_STATUS_PREPARING);
  const run = await server.completed(runId);
  expect((await server.completed((await launchLong(text)).runId)).stateDigest).toBe(run.stateDigest);
});

test('survives the death of all between the tokens and the event that names them', async () => {
  const { runId } = await launchLong();
  await server.until(runId, ({ preparation }) => (preparation?.doneShare ?? 0) > 0, CLOSELY_MS);
  const index = join(server.dataFolder, 'artifacts/token-index');
  const entries = (): number => readdirSync(index).filter((name) => name.endsWith('.json')).length;
  const before = entries();
  server.signal('store', 'SIGSTOP'); // from here on nothing is recorded
  while (entries() === before) await sleep(50);
  await server.kill('store');
  await server.orphansGone();
  await server.start();
  expect((await server.events(runId)).map(({ type }) => type)[0]).toBe('RunLaunched');
  await server.completed(runId);
  expect((await typesOf(runId)).filter((type) => type === 'RunPrepared')).toHaveLength(1);
});

test('is cancelled and paused at once; a resumed one is prepared from there', async () => {
  const { runId } = await launchLong();
  await cancel(runId);
  expect(await server.run(runId)).toMatchObject({ status: RUN_STATUS_CANCELLED, preparation: undefined });
  const paused = await launchLong();
  await unary((done) => server.runs.pauseRun({ runId: paused.runId }, done));
  expect((await server.run(paused.runId)).status).toBe(RUN_STATUS_PAUSED);
  await sleep(300);
  expect(await typesOf(paused.runId)).toEqual(['RunLaunched', 'RunPaused']);
  await unary((done) => server.runs.resumeRun(v1.ResumeRunRequest.fromPartial({ runId: paused.runId }), done));
  expect((await server.run(paused.runId)).status).toBe(RUN_STATUS_PREPARING);
  await server.completed(paused.runId);
  expect(await typesOf(runId)).toEqual(['RunLaunched', 'RunCancelled']);
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

test('what a run that could not be prepared leaves is no stranger: a later run of the text finds it', async () => {
  const strangers = async (): Promise<string[]> => (await collect(server.history.verifyAll({}))).at(-1)!.summary!.unknown;
  const before = await strangers();
  const brief = join(folder, 'brief.jsonl');
  writeFileSync(brief, '{"text":"a b"}\n');
  const { runId } = await server.launch(SHORT, { data: { trainPath: shortText(), validationPath: brief } });
  const run = await server.until(runId, ({ status }) => status === RUN_STATUS_FAILED);
  expect(run.failure).toMatchObject({ code: 'DATA_TOO_SHORT', field: 'data.validation_path' });
  expect(await strangers()).toEqual(before);
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

test('a reading process that is killed is tried again, and the run goes on', async () => {
  const { runId } = await launchLong();
  await server.until(runId, ({ preparation }) => (preparation?.doneShare ?? 0) > 0, CLOSELY_MS);
  for (const pid of server.readersOf('tokenizing-process.js')) process.kill(pid, 'SIGKILL');
  const waited = await server.until(runId, ({ waitingFor }) => waitingFor !== undefined, CLOSELY_MS);
  expect(waited.waitingFor).toMatchObject({ code: 'READER_LOST' });
  await server.completed(runId);
  expect(await typesOf(runId)).not.toContain('RunFailed');
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
  const request = v1.ForkRunRequest.fromPartial({ parentRunId: run.runId, from, overrides: { totalSteps: 30 } });
  const { run: fork } = await unary<v1.ForkRunResponse>((done) => server.runs.forkRun(request, done));
  expect(fork!.data).toEqual(run.data);
  const refused = server.launch(SHORT, { data: { ...data, moreTrainPaths: [join(folder, 'none.csv')] } });
  await expect(refused).rejects.toThrow(/more_train_paths\[0\]|none\.csv/);
});

test('texts that are mixed by weight are read the same by a replay, by a fork and after tokens of one were lost', async () => {
  const [one, other] = [shortText(), join(folder, 'other.jsonl')];
  writeFileSync(other, `${JSON.stringify({ text: 'seven, eight, nine and so on' })}\n`.repeat(60));
  const data = { trainPath: one, moreTrainPaths: [other], trainWeights: [3, 1], validationPath: '' };
  const refusal = (changes: Partial<v1.DataSource>): Promise<unknown> =>
    server.launch(SHORT, { data: { ...data, ...changes } }).catch((error: unknown) => error);
  expect(await refusal({ trainWeights: [1] })).toMatchObject({ code: 'REQUEST_INVALID', field: 'data.train_weights' });
  expect(await refusal({ trainWeights: [1, 0] })).toMatchObject({ code: 'REQUEST_INVALID', field: 'data.train_weights[1]' });
  expect(await refusal({ trainWeights: [1, NaN] })).toMatchObject({ field: 'data.train_weights[1]' });
  expect(await refusal({ moreTrainPaths: [one] })).toMatchObject({ code: 'REQUEST_INVALID', field: 'data.more_train_paths[0]' });

  const run = await server.completed((await server.launch(SHORT, { data })).runId);
  expect(run.data).toMatchObject({ ...data, trainWeights: [0.75, 0.25] });
  const replay = v1.VerifyRunRequest.fromPartial({ runId: run.runId, replay: true });
  const verdicts = await collect<v1.VerifyRunResponse>(server.history.verifyRun(replay));
  expect(verdicts.filter(({ ok }) => !ok)).toEqual([]);

  const [prepared] = (await server.events(run.runId)).filter(({ type }) => type === 'RunPrepared');
  const { data: recorded } = JSON.parse(prepared!.dataJson) as {
    data: { trainSources: { parts: number; shards: { digest: string }[] }[] };
  };
  const { trainSources } = recorded;
  expect(trainSources.map(({ parts }) => parts)).toEqual([750_000, 250_000]);
  const lost = trainSources[1]!.shards[0]!.digest;
  rmSync(join(server.dataFolder, 'artifacts', 'objects', lost.slice(0, 2), lost));
  const from = { $case: 'lastState' as const, value: true };
  const request = v1.ForkRunRequest.fromPartial({ parentRunId: run.runId, from, overrides: { totalSteps: 30 } });
  const { run: fork } = await unary<v1.ForkRunResponse>((done) => server.runs.forkRun(request, done));
  await server.stop(); // ends the engine that holds the tokens, too
  await server.start();
  expect((await server.completed(fork!.runId)).data).toEqual(run.data);

  const short = join(folder, 'short.jsonl');
  writeFileSync(short, '{"text":"one"}\n');
  const { runId } = await server.launch(SHORT, { data: { ...data, moreTrainPaths: [short] } });
  const failed = await server.until(runId, ({ status }) => status === RUN_STATUS_FAILED);
  expect(failed.failure).toMatchObject({ code: 'DATA_TOO_SHORT', field: 'data.more_train_paths[0]' });
});

test('a fork with other text prepares that text only', async () => {
  const parent = await server.completed((await server.launch(SHORT)).runId);
  const fork = async (data: Partial<v1.DataSource>): Promise<v1.Run> => {
    const request = v1.ForkRunRequest.fromPartial({
      parentRunId: parent.runId,
      from: { $case: 'lastState', value: true },
      overrides: { totalSteps: 30, data },
    });
    return (await unary<v1.ForkRunResponse>((done) => server.runs.forkRun(request, done))).run!;
  };
  const unevaluated = await fork({ trainPath: longText(), withoutValidation: true });
  expect(unevaluated.data!.validationPath).toBe('');
  await cancel(unevaluated.runId);
  const unclear = { trainPath: CORPUS, maxValidationTokens: 5n };
  await expect(fork(unclear)).rejects.toMatchObject({ code: 'FIELD_REQUIRED', field: expect.stringMatching(/validation_path$/) as string });
  const rows = join(folder, 'rows.jsonl');
  writeFileSync(rows, readFileSync(shortText(), 'utf8').replaceAll('"text":', '"content":'));
  const run = await fork({ trainPath: rows, textColumn: 'content' });
  // The text is read as the parent read it, and the run is evaluated on the same tokens.
  expect(run.data).toMatchObject({ validationPath: CORPUS, textColumn: 'content', validationTextColumn: '', withoutValidation: false });
  expect(run).toMatchObject({ status: RUN_STATUS_PREPARING, weightsDigest: parent.weightsDigest });
  const done = await server.completed(run.runId);
  expect(done.step).toBe(30n);
  const headline = ({ evaluations }: v1.Run): string => evaluations.find((one) => one.headline)!.dataDigest;
  expect(headline(done)).toBe(headline(parent));
  expect((await typesOf(run.runId)).slice(0, 2)).toEqual(['RunForked', 'RunPrepared']);
});

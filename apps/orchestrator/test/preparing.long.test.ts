// Tests runs that are disturbed while they are prepared, and runs of more than one text.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { v1 } from '#protocol';
import { PreparingServer, SHORT } from './harness/preparing-server.js';
import { CLOSELY_MS, collect, CORPUS, unary } from './harness/server.js';

const { RUN_STATUS_PREPARING, RUN_STATUS_FAILED, RUN_STATUS_CANCELLED, RUN_STATUS_PAUSED } = v1.RunStatus;
const preparing = new PreparingServer();
const { server, folder, longText, shortText, launchLong, typesOf, cancel } = preparing;

beforeAll(() => server.start());
afterAll(() => preparing.dispose());

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

test('a reading process that is killed is tried again, and the run goes on', async () => {
  const { runId } = await launchLong();
  await server.until(runId, ({ preparation }) => (preparation?.doneShare ?? 0) > 0, CLOSELY_MS);
  for (const pid of server.readersOf('tokenizing-process.js')) process.kill(pid, 'SIGKILL');
  const waited = await server.until(runId, ({ waitingFor }) => waitingFor !== undefined, CLOSELY_MS);
  expect(waited.waitingFor).toMatchObject({ code: 'READER_LOST' });
  await server.completed(runId);
  expect(await typesOf(runId)).not.toContain('RunFailed');
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
  const request = v1.ForkRunRequest.fromPartial({ parentRunId: run.runId, from, settings: { totalSteps: 30 } });
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
      settings: { totalSteps: 30 },
      data,
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

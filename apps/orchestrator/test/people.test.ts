// Tests on the real server how people share its engines: whose run is next, priorities, quotas, and the hours that are shown.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChannelCredentials } from '@grpc/grpc-js';
import { bearerToken, v1 } from '#protocol';
import { codeOf, CORPUS, ENDLESS, TestServer, TINY_MODEL, TINY_RUN, unary } from './harness/server.js';

const server = TestServer.inNewFolder();
const folder = mkdtempSync(join(tmpdir(), 'espalier-people-'));
const quotas = join(folder, 'hours.yaml');
const clients: Record<string, v1.RunServiceClient> = {};
const secrets: Record<string, string> = {};

beforeAll(async () => {
  writeFileSync(quotas, 'callers:\n  token:cat: 0\n');
  server.options = ['--data-root', TINY_MODEL, '--data-root', CORPUS, '--engine-hours', quotas];
  await server.start();
  for (const name of ['ann', 'bob', 'cat'])
    secrets[name] = (
      await unary<v1.CreateTokenResponse>((done) =>
        server.access.createToken(v1.CreateTokenRequest.fromPartial({ name, role: v1.Role.ROLE_OPERATOR, days: 1 }), done),
      )
    ).secret;
  connect();
});
afterAll(async () => {
  disconnect();
  await server.dispose();
  rmSync(folder, { recursive: true });
});

function connect(): void {
  for (const [name, secret] of Object.entries(secrets))
    clients[name] = new v1.RunServiceClient(server.listenAddress, ChannelCredentials.createInsecure(), bearerToken(secret));
}

function disconnect(): void {
  for (const client of Object.values(clients)) client.close();
}

async function launch(name: string, settings: Partial<v1.RunSettings> = {}): Promise<string> {
  const request = {
    modelPath: TINY_MODEL,
    data: { trainPath: CORPUS, validationPath: CORPUS },
    settings: { ...TINY_RUN, totalSteps: 5, ...settings },
  };
  const { run } = await unary<v1.LaunchRunResponse>((done) => clients[name]!.launchRun(v1.LaunchRunRequest.fromPartial(request), done));
  return run!.runId;
}
const prioritize = (name: string, runId: string, priority: number): Promise<v1.PrioritizeRunResponse> =>
  unary((done) => clients[name]!.prioritizeRun({ runId, priority }, done));
const usage = (request: Partial<v1.GetUsageRequest> = {}): Promise<v1.GetUsageResponse> =>
  unary((done) => server.runs.getUsage(v1.GetUsageRequest.fromPartial(request), done));
const getRun = async (runId: string): Promise<v1.Run> =>
  (await unary<v1.GetRunResponse>((done) => server.runs.getRun({ runId }, done))).run!;
const startOf = async (runId: string): Promise<number> =>
  (await server.events(runId)).find(({ type }) => type === 'AttemptStarted')!.recordedAt!.getTime();

it('gives the engine to the first run of a caller before the many of another, and to a higher priority before both', async () => {
  const blocking = await launch('ann', ENDLESS);
  await server.until(blocking, ({ step }) => step > 0n);
  const ofAnn = [await launch('ann'), await launch('ann'), await launch('ann'), await launch('ann')];
  const ofBob = [await launch('bob'), await launch('bob')];
  const prepared = (run: v1.Run): boolean => run.status === v1.RunStatus.RUN_STATUS_QUEUED && run.queuedFor !== '';
  for (const runId of [...ofAnn, ...ofBob]) await server.until(runId, prepared);

  expect(await prioritize('bob', ofAnn[3]!, -1).catch(codeOf)).toBe('ROLE_TOO_LOW');
  expect(await prioritize('ann', ofAnn[3]!, 1).catch(codeOf)).toBe('ROLE_TOO_LOW');
  expect(await prioritize('ann', ofAnn[3]!, -101).catch(codeOf)).toBe('FIELD_OUT_OF_RANGE');
  expect((await prioritize('ann', ofAnn[0]!, -1)).run).toMatchObject({ priority: -1 });
  await unary((done) => server.runs.prioritizeRun({ runId: ofAnn[3]!, priority: 10 }, done));
  const [event] = (await server.events(ofAnn[0]!)).filter(({ type }) => type === 'RunPrioritized');
  expect(event).toMatchObject({ summary: 'priority -1', context: { actor: 'token:ann' } });

  await unary((done) => clients['ann']!.cancelRun({ runId: blocking, reason: '' }, done));
  for (const runId of [...ofAnn, ...ofBob]) await server.completed(runId);
  const starts = await Promise.all([...ofAnn, ...ofBob].map(async (runId) => ({ runId, at: await startOf(runId) })));
  const order = starts.sort((left, right) => left.at - right.at).map(({ runId }) => runId);
  expect(order[0]).toBe(ofAnn[3]);
  expect(order[1]).toBe(ofBob[0]);
  expect(order.at(-1)).toBe(ofAnn[0]);
  expect(await prioritize('ann', ofAnn[0]!, -2).catch(codeOf)).toBe('RUN_FINISHED');
});

it('shows hours that are the sum of those of the runs, also after a restart, and counts deleted runs', async () => {
  const { runs } = await unary<v1.ListRunsResponse>((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({}), done));
  const sum = runs.reduce((all, { engineSeconds }) => all + engineSeconds, 0);
  expect(sum).toBeGreaterThan(0);
  const before = await usage();
  expect(before.engineSeconds).toBeCloseTo(sum, 2);
  for (const { caller, engineSeconds, runs: count } of before.rows) {
    const own = runs.filter(({ launchedBy }) => launchedBy === caller);
    expect(engineSeconds).toBeCloseTo(
      own.reduce((all, run) => all + run.engineSeconds, 0),
      2,
    );
    expect(count).toBe(own.length);
  }
  const byRun = await usage({ by: v1.UsageBy.USAGE_BY_RUN });
  for (const row of byRun.rows) expect(row.engineSeconds).toBeCloseTo((await getRun(row.runId)).engineSeconds, 2);
  expect((await usage({ by: v1.UsageBy.USAGE_BY_STUDY })).rows).toMatchObject([{ studyId: '', runs: runs.length }]);
  expect(await usage({ until: new Date(1_000), from: new Date(2_000) }).catch(codeOf)).toBe('FIELD_OUT_OF_RANGE');
  expect((await usage({ until: new Date(Date.now() - 86_400_000) })).rows).toEqual([]);
  expect((await usage({ caller: 'token:bob', by: v1.UsageBy.USAGE_BY_RUN })).rows).toHaveLength(2);

  await unary((done) => server.runs.deleteRun({ runId: runs[0]!.runId, reason: '' }, done));
  disconnect();
  await server.killAll();
  connect();
  const after = await usage();
  expect(after).toEqual(before);
});

it('lets the run of a caller who has used the quota up wait, and says why; a raised quota lets it begin', async () => {
  const held = await launch('cat');
  const { waitingFor } = await server.until(held, (run) => run.waitingFor !== undefined);
  expect(waitingFor).toMatchObject({ code: 'ENGINE_HOURS_USED', message: expect.stringContaining('token:cat has used') as string });
  await server.completed(await launch('ann')); // another caller passes by
  expect((await getRun(held)).attempt).toBe(0);
  expect((await usage()).quotas).toEqual([]); // cat has had no engine, and the others have no quota
  writeFileSync(quotas, 'callers:\n  token:cat: 1000\n');
  await server.completed(held);
  expect((await usage()).quotas).toMatchObject([{ caller: 'token:cat', allowedSeconds: 3_600_000, days: 30 }]);
});

it('refuses seconds that are no time of a calendar, which a client in another language can send', async () => {
  const from = Buffer.from([0x0a, 10, 0x08, ...Array<number>(8).fill(0x80), 0x40]); // from: 2^62 seconds
  const answer = unary<v1.GetUsageResponse>((done) =>
    server.runs.makeUnaryRequest(
      '/espalier.v1.RunService/GetUsage',
      () => from,
      v1.GetUsageResponse.decode,
      {},
      (error, response) => done(error, response!),
    ),
  );
  expect(await answer.catch(codeOf)).toBe('FIELD_OUT_OF_RANGE');
});

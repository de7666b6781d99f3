// Tests with the real processes which artifacts are removed and which stay, and what the record and the whole store say about them.
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { v1 } from '#protocol';
import { codeOf, collect, TestServer, TINY_MODEL, TINY_RUN, unary } from './harness/server.js';

const server = TestServer.inNewFolder();
let parent: v1.Run;
let child: v1.Run;
beforeAll(async () => {
  await server.start();
  parent = await server.completed((await server.launch({}, { name: 'parent' })).runId);
});
afterAll(() => server.dispose());

const pathOf = (digest: string): string => join(server.dataFolder, 'artifacts/objects', digest.slice(0, 2), digest);
const teachersOf = (runId: string, more: Partial<v1.ListTeachersRequest> = {}): Promise<v1.Teacher[]> =>
  unary<v1.ListTeachersResponse>((done) =>
    server.artifacts.listTeachers(v1.ListTeachersRequest.fromPartial({ runId, includeInherited: true, ...more }), done),
  ).then(({ teachers }) => teachers);
const discard = (request: Partial<v1.DiscardArtifactsRequest>): Promise<v1.DiscardArtifactsResponse> =>
  unary((done) => server.artifacts.discardArtifacts(v1.DiscardArtifactsRequest.fromPartial(request), done));
const remove = (runId: string): Promise<v1.DeleteRunResponse> => unary((done) => server.runs.deleteRun({ runId, reason: 'no room' }, done));
const usage = (): Promise<v1.GetDiskUsageResponse> => unary((done) => server.artifacts.getDiskUsage({}, done));
const listed = (request: Partial<v1.ListRunsRequest> = {}): Promise<string[]> =>
  unary<v1.ListRunsResponse>((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial(request), done)).then(({ runs }) =>
    runs.map(({ runId }) => runId),
  );
const verifyAll = (): Promise<v1.VerifyAllResponse[]> => collect(server.history.verifyAll({}));
const problemsOf = (verdicts: v1.VerifyAllResponse[]): string[] => verdicts.at(-1)!.summary!.problems;
const refused = (work: Promise<unknown>): Promise<string> => work.then(() => 'done', codeOf);

test('a plan says how much disk the snapshots will take', async () => {
  const request = v1.PlanRunRequest.fromPartial({ modelPath: TINY_MODEL, settings: TINY_RUN });
  const plan = await unary<v1.PlanRunResponse>((done) => server.runs.planRun(request, done));
  const [teacher] = await teachersOf(parent.runId);
  expect(plan.disk).toMatchObject({ teachers: 19 });
  const difference = Math.abs(Number(plan.disk!.stateBytes) - Number(teacher!.bytes)) / Number(teacher!.bytes);
  expect(difference).toBeLessThan(0.05);
  expect(plan.disk!.totalBytes - plan.disk!.recordBytes).toBe(plan.disk!.stateBytes * 21n);
  expect(plan.disk!.availableBytes).toBeGreaterThan(0n);
});

test('thinned out, a run keeps every n-th teacher; forks keep what they were given; the record says what is gone', async () => {
  const request = v1.ForkRunRequest.fromPartial({
    parentRunId: parent.runId,
    from: { $case: 'teacherMark', value: 5 },
    name: 'child',
    settings: { seed: 7n }, // with the same seed it would reach the same states again
  });
  const forked = await unary<v1.ForkRunResponse>((done) => server.runs.forkRun(request, done));
  child = await server.completed(forked.run!.runId);
  const before = await teachersOf(parent.runId);
  const dry = await discard({ runId: parent.runId, keepEvery: 6, dryRun: true });
  expect(dry.artifacts.length).toBeGreaterThan(0);
  expect((await teachersOf(parent.runId)).length).toBe(before.length);
  const done = await discard({ runId: parent.runId, keepEvery: 6, reason: 'no room' });
  expect(done.freedBytes).toBe(dry.freedBytes);
  for (const { digest } of done.artifacts) expect(existsSync(pathOf(digest))).toBe(false);
  const kept = (await teachersOf(parent.runId)).map(({ mark }) => mark);
  expect(kept).toEqual(expect.arrayContaining([1, 2, 3, 4, 5, 6, before.at(-1)!.mark])); // the fork needs 1 to 5
  expect(kept.length).toBeLessThan(before.length);
  expect((await teachersOf(parent.runId, { includeDiscarded: true })).length).toBe(before.length);

  const gone = done.artifacts.find(({ marks }) => marks.length > 0)!;
  const resume = (runId: string, value: number): Promise<unknown> =>
    unary((cb) => server.runs.resumeRun(v1.ResumeRunRequest.fromPartial({ runId, from: { $case: 'teacherMark', value } }), cb));
  expect(await refused(resume(parent.runId, gone.marks[0]!))).toBe('ARTIFACT_DISCARDED');
  expect(await refused(collect(server.artifacts.downloadArtifact({ digest: gone.digest, offset: 0n })))).toBe('ARTIFACT_DISCARDED');
  const fork = v1.ForkRunRequest.fromPartial({ parentRunId: parent.runId, from: { $case: 'stateDigest', value: gone.digest } });
  expect(await refused(unary((cb) => server.runs.forkRun(fork, cb)))).toBe('ARTIFACT_DISCARDED');
  expect(await server.problemsOf(parent.runId)).toEqual([]);
  const replay = v1.VerifyRunRequest.fromPartial({ runId: parent.runId, replay: true });
  expect(await refused(collect(server.history.verifyRun(replay)))).toBe('ARTIFACT_DISCARDED');
});

test('a deleted run leaves its history; a crash between the fact and the bytes is made good; its fork is whole', async () => {
  expect(await refused(remove(parent.runId.slice(0, 6)))).toBe('FIELD_OUT_OF_RANGE');
  expect(await refused(remove('aaaaaaaaaaaa'))).toBe('RUN_NOT_FOUND');
  const { stateDigest } = parent;
  const spare = join(server.dataFolder, 'spare');
  await copyFile(pathOf(stateDigest), spare);
  const before = await usage();
  const reclaimable = before.runs.find(({ runId }) => runId === parent.runId)!.reclaimableBytes;
  const { freedBytes, discardedArtifacts, run } = await remove(parent.runId);
  expect(freedBytes).toBe(reclaimable);
  expect(discardedArtifacts).toBeGreaterThan(0n);
  expect(run).toMatchObject({ status: v1.RunStatus.RUN_STATUS_DELETED, deletionReason: 'no room' });
  expect((await usage()).artifactsBytes).toBe(before.artifactsBytes - freedBytes);

  // This looks as if the server had died after the event and before the bytes, the tokens' too, were removed.
  await server.kill();
  await rename(spare, pathOf(stateDigest));
  await server.start();
  await server.until(child.runId, () => !existsSync(pathOf(stateDigest)));

  expect(await listed()).toEqual([child.runId]);
  expect(await listed({ includeDeleted: true })).toEqual([child.runId, parent.runId]);
  expect((await server.events(parent.runId)).at(-1)).toMatchObject({ type: 'RunDeleted', knownType: true });
  const lineage = await unary<v1.GetLineageResponse>((done) => server.runs.getLineage({ runId: child.runId }, done));
  expect(lineage.tree.map(({ status }) => status)).toEqual([v1.RunStatus.RUN_STATUS_DELETED, v1.RunStatus.RUN_STATUS_COMPLETED]);
  const asked = v1.ForkRunRequest.fromPartial({ parentRunId: parent.runId, from: { $case: 'teacherMark', value: 5 } });
  expect(await refused(unary((cb) => server.runs.forkRun(asked, cb)))).toBe('RUN_DELETED');
  expect(await refused(collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId: parent.runId }))))).toBe('RUN_DELETED');
  expect(await server.problemsOf(parent.runId)).toEqual([]);
  expect(await server.problemsOf(child.runId)).toEqual([]);
  const replay = v1.VerifyRunRequest.fromPartial({ runId: child.runId, replay: true });
  expect((await collect(server.history.verifyRun(replay))).at(-1)!.summary).toMatchObject({ ok: true });
  const bundle = await collect(server.history.exportAudit({ runId: parent.runId, includeSnapshots: true }));
  expect(bundle.length).toBeGreaterThan(0);
  // The run's name is free again.
  expect(await refused(server.run('parent'))).toBe('RUN_NOT_FOUND');
});

test('what no event names is found by verify --all, and cleared away by gc once it is old enough', async () => {
  const stray = 'a'.repeat(64);
  await mkdir(dirname(pathOf(stray)), { recursive: true });
  await writeFile(pathOf(stray), 'not these bytes');
  const strange = join(server.dataFolder, 'artifacts/objects/notes.txt');
  await writeFile(strange, 'mine');
  const verdicts = await verifyAll();
  expect(problemsOf(verdicts)).toEqual([`artifacts: artifact ${stray}: unknown: its bytes have another digest`]);
  const { summary } = verdicts.at(-1)!;
  expect(summary).toMatchObject({ ok: false, runs: 2n, runsWithProblems: 0n });
  expect(summary!.unknown).toEqual([stray, strange]);
  const shares = verdicts.map(({ doneShare }) => doneShare);
  expect([...shares].sort((left, right) => left - right)).toEqual(shares);

  const collectGarbage = async (request: Partial<v1.CollectGarbageRequest>): Promise<string[]> =>
    (await collect(server.artifacts.collectGarbage(v1.CollectGarbageRequest.fromPartial(request)))).flatMap(({ artifact }) =>
      artifact === undefined ? [] : [artifact.digest],
    );
  expect(await collectGarbage({})).toEqual([]); // the file is too young
  expect(await collectGarbage({ minAgeSeconds: 0, dryRun: true })).toEqual([stray]);
  expect(existsSync(pathOf(stray))).toBe(true);
  expect(await collectGarbage({ minAgeSeconds: 0 })).toEqual([stray]);
  expect(existsSync(pathOf(stray))).toBe(false);
  const set = await usage();
  expect(set.quarantineBytes).toBeGreaterThanOrEqual(15n);
  const { quarantined, quarantinedBytes, unknown } = (await verifyAll()).at(-1)!.summary!;
  expect([unknown, quarantinedBytes]).toEqual([[strange], set.quarantineBytes]);
  const removed = await collectGarbage({ minAgeSeconds: 0, now: true });
  expect(BigInt(removed.length)).toBe(quarantined);
  expect(removed).toContain(stray);
  expect((await usage()).quarantineBytes).toBe(0n);
  expect(existsSync(strange)).toBe(true); // a file that is not an artifact is left alone
});

test('verify --all finds a flipped byte and a missing artifact', async () => {
  const damaged = pathOf(child.stateDigest);
  const bytes = await readFile(damaged);
  bytes[statSync(damaged).size - 1]! ^= 1;
  await writeFile(damaged, bytes);
  const [teacher] = await teachersOf(child.runId);
  await rename(pathOf(teacher!.stateDigest), join(server.dataFolder, 'away'));
  const problems = problemsOf(await verifyAll());
  expect(problems).toHaveLength(2);
  expect(problems).toContain(`artifacts: artifact ${child.stateDigest}: state: its bytes have another digest`);
  expect(problems).toContain(`artifacts: artifact ${teacher!.stateDigest}: state of run ${child.runId}: not in the store`);
});

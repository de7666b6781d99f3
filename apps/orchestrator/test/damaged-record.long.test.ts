// Tests a flipped byte in the event store's file on the real processes. The damaged run is marked and left alone, while the views exist and
// after they are lost. Everything else goes on. Takes about half a minute.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { codeOf, collect, TestServer, unary } from './harness/server.js';

const { RUN_STATUS_COMPLETED, RUN_STATUS_DAMAGED } = v1.RunStatus;
const RUN: Partial<v1.RunSettings> = { totalSteps: 160, warmupSteps: 80 };

describe('a run with a damaged event', () => {
  const server = TestServer.inNewFolder();
  const file = join(server.dataFolder, 'event-store/events.db');
  let whole: v1.Run;
  let seen: v1.HistoryEvent[];
  let victim: v1.HistoryEvent;
  let hit = '';
  let lostStart = '';

  beforeAll(async () => {
    await server.start();
    whole = await server.completed((await server.launch(RUN)).runId);
    lostStart = (await server.completed((await server.launch({ totalSteps: 40, warmupSteps: 20 })).runId)).runId;
    hit = (await server.launch(RUN)).runId;
    await server.until(hit, ({ step }) => step >= 60n);
    seen = await server.events(hit);
    victim = seen.filter(({ type }) => type === 'MasksUpdated')[2]!;
    await server.kill();
    expect(await server.orphansGone()).toBe(true);
  });
  afterAll(() => server.dispose());

  /** Damages a byte of the event's digest in the chain, which occurs nowhere else in the file. */
  function flipByte({ dataJson }: v1.HistoryEvent): void {
    const database = new Database(file);
    database.pragma('wal_checkpoint(TRUNCATE)');
    database.close();
    const bytes = readFileSync(file);
    const at = bytes.indexOf((JSON.parse(dataJson) as { chain: string }).chain.slice(4, 32));
    expect(at).toBeGreaterThan(0);
    bytes[at - 1]! ^= 1;
    writeFileSync(file, bytes);
  }

  function forgetViews(): void {
    for (const suffix of ['', '-wal', '-shm']) rmSync(join(server.dataFolder, `views.sqlite${suffix}`), { force: true });
  }

  async function verifyProblems(runId: string): Promise<string> {
    const verdicts = await collect(server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId })));
    return verdicts.at(-1)!.summary!.problems.join('\n');
  }

  async function othersWork(): Promise<void> {
    expect(await server.run(whole.runId)).toMatchObject({ status: RUN_STATUS_COMPLETED, stateDigest: whole.stateDigest, damage: [] });
    expect((await server.completed((await server.launch(RUN)).runId)).stateDigest).toBe(whole.stateDigest);
    expect(await verifyProblems(whole.runId)).toBe('');
  }

  async function isSetAside(runId: string, revision: bigint): Promise<void> {
    const run = await server.until(runId, ({ status }) => status === RUN_STATUS_DAMAGED);
    expect(run.damage).toEqual([
      { revision, metrics: false, problem: expect.stringContaining(`event ${revision} of stream 'pruningRun-${runId}'`) as string },
    ]);
    const { runs } = await unary<v1.ListRunsResponse>((done) =>
      server.runs.listRuns(v1.ListRunsRequest.fromPartial({ statuses: [RUN_STATUS_DAMAGED] }), done),
    );
    expect(runs.map((one) => one.runId)).toContain(runId);
    const events = await server.events(runId);
    expect(events.filter(({ damaged }) => damaged)).toMatchObject([{ revision, type: '' }]);
    expect(events.map((event) => event.revision)).toEqual(events.map((_, index) => BigInt(index)));
    expect(await verifyProblems(runId)).toContain(`store: run ${runId} revision ${revision}:`);
    const refused = [
      unary<v1.PauseRunResponse>((done) => server.runs.pauseRun({ runId }, done)),
      unary<v1.CancelRunResponse>((done) => server.runs.cancelRun({ runId, reason: '' }, done)),
      unary<v1.ResumeRunResponse>((done) => server.runs.resumeRun(v1.ResumeRunRequest.fromPartial({ runId }), done)),
      unary<v1.ForkRunResponse>((done) =>
        server.runs.forkRun(v1.ForkRunRequest.fromPartial({ parentRunId: runId, from: { $case: 'lastState', value: true } }), done),
      ),
      collect(server.runs.evaluateRun(v1.EvaluateRunRequest.fromPartial({ runId }))),
      collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId }))),
    ];
    for (const one of refused)
      expect(
        codeOf(
          await one.then(
            () => 'done',
            (error: unknown) => error,
          ),
        ),
      ).toBe('RUN_DAMAGED');
    expect(await server.events(runId)).toEqual(events);
    expect((await collect(server.runs.watchRun(v1.WatchRunRequest.fromPartial({ runId })))).at(-1)!.run!.status).toBe(RUN_STATUS_DAMAGED);
  }

  it('is set aside when the views still have what the event said', async () => {
    flipByte(victim);
    await server.start();
    await isSetAside(hit, victim.revision);
    await othersWork();
    expect(await server.stop()).toBe(0);
  });

  it('is shown without it when the views are made again, also when it began the run', async () => {
    flipByte((await eventsOf(lostStart))[0]!);
    forgetViews();
    await server.start();
    await isSetAside(hit, victim.revision);
    await isSetAside(lostStart, 0n);
    // The content of later events is still known.
    expect((await server.run(hit)).teacherCount).toBeGreaterThanOrEqual(seen.filter(({ type }) => type === 'TeacherSnapshotted').length);
    expect(await server.run(lostStart)).toMatchObject({ settings: undefined, step: 40n, recordedStatus: RUN_STATUS_COMPLETED });
    await othersWork();
    const before = await server.events(hit);
    expect((await collect(server.history.rebuildViews({}))).at(-1)).toMatchObject({ done: true });
    await isSetAside(hit, victim.revision);
    expect(await server.events(hit)).toEqual(before);
    expect(await server.stop()).toBe(0);
  });

  it('goes on to its right end once the event is whole again: what it needs was kept', async () => {
    flipByte(victim);
    forgetViews();
    await server.start();
    const run = await server.completed(hit);
    expect(run).toMatchObject({ stateDigest: whole.stateDigest, damage: [] });
    expect(recordProblems(await server.events(hit), seen)).toEqual([]);
  });

  /** Reads the events in a short run of the server, which is stopped before and after. */
  async function eventsOf(runId: string): Promise<v1.HistoryEvent[]> {
    await server.start();
    const events = await server.events(runId);
    expect(await server.stop()).toBe(0);
    return events;
  }
});

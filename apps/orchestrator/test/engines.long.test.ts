// Tests several engines with real processes: runs side by side, the death of an engine, and engines that the user started. Engines that are
// refused are in engines.test.ts.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { programFile } from '#files';
import { startEmbeddedEventStore, type EmbeddedEventStore } from '#event-store';
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { collect, enginesUntil, isOver, killedDriving, TestServer, unary } from './harness/server.js';

const ENGINE = programFile(new URL('../../engine/src/main.js', import.meta.url));
const RUN: Partial<v1.RunSettings> = { totalSteps: 160, warmupSteps: 80 };
const { ENGINE_STATUS_BUSY, ENGINE_STATUS_IDLE, ENGINE_STATUS_NOT_STARTED, ENGINE_STATUS_ATTACHED_ELSEWHERE, ENGINE_STATUS_STANDBY } =
  v1.EngineStatus;

const attachedAt = (events: v1.HistoryEvent[]): string[] =>
  events.filter(({ type }) => type === 'EngineAttached').map(({ dataJson }) => (JSON.parse(dataJson) as { engineName: string }).engineName);

describe('two local engines', () => {
  const server = TestServer.inNewFolder({ ESPALIER_ENGINES: '2' });
  const alone: string[] = [];
  const seeds = [1n, 2n];

  beforeAll(async () => {
    await server.start();
    expect((await server.engines()).map(({ name, status }) => [name, status])).toEqual([
      ['local-1', ENGINE_STATUS_NOT_STARTED],
      ['local-2', ENGINE_STATUS_NOT_STARTED],
    ]);
    for (const seed of seeds) alone.push((await server.completed((await server.launch({ ...RUN, seed })).runId)).stateDigest);
  });
  afterAll(() => server.dispose());

  it('train two runs side by side, which end as each does alone', async () => {
    let runs: v1.Run[] = [];
    await server.disturbed({
      launch: async () => {
        for (const { runId } of runs) await server.completed(runId);
        runs = [await server.launch({ ...RUN, seed: 1n }), await server.launch({ ...RUN, seed: 2n })];
        return runs[0]!;
      },
      when: ({ step }) => step > 0n,
      by: async (runId) => {
        let busy = await server.engines();
        while (busy.some(({ status }) => status !== ENGINE_STATUS_BUSY)) {
          if (isOver(await server.run(runId))) return false;
          busy = await server.engines();
        }
        expect(busy.map(({ runId }) => runId).sort()).toEqual(runs.map(({ runId }) => runId).sort());
        expect(busy[0]).toMatchObject({ local: true, backend: 'cpu', threads: 1, losses: 0 });
        return true;
      },
    });
    const ended = [];
    for (const { runId } of runs) ended.push((await server.completed(runId)).stateDigest);
    expect(ended).toEqual(alone);
    const names = [];
    for (const { runId } of runs) names.push(...attachedAt(await server.events(runId)));
    expect(names.sort()).toEqual(['local-1', 'local-2']);
    await enginesUntil(server, (engines) => engines.every(({ status, doing }) => status === ENGINE_STATUS_IDLE && doing === ''));
  });

  it('die alone: the run of the other goes on, and both end as they should', async () => {
    let runs: v1.Run[] = [];
    let other: v1.Run | undefined;
    const { restarts } = await server.disturbed({
      launch: async () => {
        for (const { runId } of runs) await server.completed(runId);
        other = await server.launch({ ...RUN, seed: 1n });
        runs = [await server.launch({ ...RUN, seed: 2n }), other];
        return runs[0]!;
      },
      when: ({ step }) => step >= 20n,
      by: async (runId) => {
        const victim = (await server.engines()).find((one) => one.runId === runId);
        if (victim === undefined) return false;
        process.kill(victim.pid, 'SIGKILL');
        await enginesUntil(server, (engines) => engines.some(({ name, losses }) => name === victim.name && losses > victim.losses));
        return undefined;
      },
    });
    for (const { runId } of runs) expect(alone).toContain((await server.completed(runId)).stateDigest);
    expect([restarts > 0, (await server.run(other!.runId)).restarts]).toEqual([true, 0]);
    for (const { runId } of runs) expect(recordProblems(await server.events(runId))).toEqual([]);
  });
});

describe('an engine that the server did not start', () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-named-'));
  let eventStore: EmbeddedEventStore;
  let engine: ChildProcess;
  let address: string;
  let servers: TestServer[];

  beforeAll(async () => {
    eventStore = await startEmbeddedEventStore({ folder });
    engine = spawn(process.execPath, [ENGINE, '--listen', '127.0.0.1:0', '--threads', '1'], { stdio: ['ignore', 'ignore', 'pipe'] });
    const [line] = (await once(createInterface({ input: engine.stderr! }), 'line')) as [string];
    engine.stderr!.resume();
    ({ address } = JSON.parse(line) as { address: string });
    const env = { ESPALIER_EVENT_STORE: eventStore.connectionString, ESPALIER_LEASE_SECONDS: '2', ESPALIER_ENGINE: address };
    const artifacts = { ESPALIER_ARTIFACTS: join(folder, 'artifacts') };
    servers = [TestServer.inNewFolder({ ...env, ...artifacts }), TestServer.inNewFolder({ ...env, ...artifacts })];
    for (const server of servers) await server.start();
  });
  afterAll(async () => {
    for (const server of servers) await server.dispose();
    engine.kill('SIGKILL');
    await eventStore.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('belongs to who drives; a standby takes it over with the runs when the driver was killed', async () => {
    const [driver, standby] = servers as [TestServer, TestServer];
    const undisturbed = await driver.completed((await driver.launch(RUN)).runId);
    const [held] = await enginesUntil(standby, ([one]) => one!.heldBy !== '');
    expect(held).toMatchObject({ name: address, local: false, status: ENGINE_STATUS_STANDBY });
    expect(held!.heldBy).toContain(`process ${driver.pid} on`);
    let seen: v1.HistoryEvent[] = [];
    const {
      run,
      dead,
      driver: next,
    } = await killedDriving(servers, {
      launch: (server) => server.launch(RUN),
      when: ({ step }) => step >= 20n,
      before: async (server, runId) => void (seen = await server.events(runId)),
    });
    servers = [dead, next];
    expect(run.stateDigest).toBe(undisturbed.stateDigest);
    const events = await next.events(run.runId);
    expect(recordProblems(events, seen)).toEqual([]);
    expect(attachedAt(events)).toEqual([address, address]);
    await enginesUntil(next, ([one]) => one!.status === ENGINE_STATUS_IDLE && one!.heldBy === '');
  });

  it('computes recorded steps again for a proof, and is free afterwards', async () => {
    const standby = servers[1]!;
    const { runs } = await unary<v1.ListRunsResponse>((done) => standby.runs.listRuns(v1.ListRunsRequest.fromPartial({}), done));
    const request = v1.VerifyRunRequest.fromPartial({ runId: runs[0]!.runId, replay: true, fromStep: 60n, toStep: 80n });
    const verdicts = await collect(standby.history.verifyRun(request));
    expect(verdicts.filter(({ ok }) => !ok)).toEqual([]);
    expect(verdicts.at(-1)!.summary).toMatchObject({ ok: true, numericsFingerprint: runs[0]!.numericsFingerprint, maxAbsDifference: 0 });
    expect(Number(verdicts.at(-1)!.summary!.replayedSteps)).toBeGreaterThanOrEqual(20);
    await enginesUntil(standby, ([one]) => one!.status === ENGINE_STATUS_IDLE && one!.doing === '');
  });

  it('is not taken from an orchestrator of other runs, which hears who has it; the run that needs it says so', async () => {
    const stranger = TestServer.inNewFolder({ ESPALIER_ENGINE: address });
    try {
      await stranger.start();
      const [engineThere] = await enginesUntil(stranger, ([one]) => one!.status === ENGINE_STATUS_ATTACHED_ELSEWHERE);
      expect(engineThere!.heldBy).toContain(`process ${servers[1]!.pid} on`);
      const { runId } = await stranger.launch(RUN);
      const run = await stranger.until(runId, ({ waitingFor }) => waitingFor?.message.includes(address) === true);
      expect(run.waitingFor!.message).toContain('belongs to the orchestrator');
    } finally {
      await stranger.dispose();
    }
  });
});

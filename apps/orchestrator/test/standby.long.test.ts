// Tests two orchestrators on one event store, as on two machines: each has its own data folder, one drives and dies, and one stands by.
// standby.test.ts tests them in good order.
import { mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openArtifactStore } from '#artifact-store';
import { startEmbeddedEventStore, type EmbeddedEventStore } from '#event-store';
import { EspalierError, v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { CLOSELY_MS, codeOf, collect, isOver, killedDriving, TestServer, unary } from './harness/server.js';
import { drives, LEASE_SECONDS, RUN, TwoServers, untilDriving } from './harness/standby.js';

describe('two orchestrators on one event store', () => {
  const two = new TwoServers();

  beforeAll(async () => {
    await two.start();
    await two.trainUndisturbed();
  });
  afterAll(() => two.dispose());

  /** Expects the run to end as if undisturbed, with every fact that was seen before. */
  async function endsUndisturbed(server: TestServer, runId: string, seen: v1.HistoryEvent[]): Promise<void> {
    expect((await server.completed(runId)).stateDigest).toBe(two.undisturbed);
    expect(recordProblems(await server.events(runId), seen)).toEqual([]);
  }

  it('gives the runs to the standby when the driver dies; no fact is lost or there twice, and the end is the same', async () => {
    let seen: v1.HistoryEvent[] = [];
    const { run, dead, driver } = await killedDriving(two.servers, {
      launch: (driver) => driver.launch(RUN),
      when: ({ step }) => step >= 40n,
      before: async (driver, runId) => void (seen = await driver.events(runId)),
    });
    await endsUndisturbed(driver, run.runId, seen);
    await dead.start();
    expect([await drives(dead), await drives(driver)]).toEqual([false, true]);
    two.servers = [dead, driver];
  });

  it('refuses what a driver records that was asleep for longer than its lease', async () => {
    const [standby, driver] = two.servers as [TestServer, TestServer];
    let seen: v1.HistoryEvent[] = [];
    let runId = '';
    for (let inTime = false; !inTime;) {
      ({ runId } = await driver.launch(RUN));
      await driver.until(runId, ({ step }) => step >= 40n, CLOSELY_MS);
      driver.signal('orchestrator', 'SIGSTOP');
      // From here on nothing is recorded. If this run is over, another one is launched.
      seen = await standby.events(runId);
      inTime = !seen.some(({ type }) => type === 'RunCompleted');
      if (!inTime) driver.signal('orchestrator', 'SIGCONT');
    }
    try {
      await untilDriving(standby);
      await standby.until(runId, (run) => run.attempt > 1 || isOver(run));
    } finally {
      driver.signal('orchestrator', 'SIGCONT');
    }
    await endsUndisturbed(standby, runId, seen);
    expect([await drives(standby), await drives(driver)]).toEqual([true, false]);
  });
});

describe('two orchestrators on one event store with one artifact folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-shared-'));
  const artifacts = join(folder, 'artifacts');
  let eventStore: EmbeddedEventStore;
  let servers: TestServer[];
  const states = (): string[] =>
    readdirSync(join(artifacts, 'objects'), { recursive: true })
      .map(String)
      .filter((name) => /[0-9a-f]{64}$/.test(name));

  beforeAll(async () => {
    eventStore = await startEmbeddedEventStore({ folder: join(folder, 'store') });
    const env = {
      ESPALIER_EVENT_STORE: eventStore.connectionString,
      ESPALIER_LEASE_SECONDS: String(LEASE_SECONDS),
      ESPALIER_ARTIFACTS: artifacts,
    };
    servers = [TestServer.inNewFolder(env), TestServer.inNewFolder(env)];
    for (const server of servers) await server.start();
  });
  afterAll(async () => {
    for (const server of servers) await server.dispose();
    await eventStore.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const started = (events: v1.HistoryEvent[]): number[] =>
    events.filter(({ type }) => type === 'AttemptStarted').map(({ dataJson }) => (JSON.parse(dataJson) as { fromStep: number }).fromStep);
  const fork = (server: TestServer, parentRunId: string): Promise<v1.ForkRunResponse> =>
    unary<v1.ForkRunResponse>((done) =>
      server.runs.forkRun(v1.ForkRunRequest.fromPartial({ parentRunId, from: { $case: 'teacherMark', value: 5 } }), done),
    );

  it('go on from the last recorded state when the driver dies, forks too', async () => {
    const first = servers[0]!;
    const undisturbed = await first.completed((await first.launch(RUN)).runId);
    const undisturbedFork = await first.completed((await fork(first, undisturbed.runId)).run!.runId);
    let forked: v1.Run;
    let seen: v1.HistoryEvent[] = [];
    let recorded = 0n;
    const { run, dead, driver } = await killedDriving(servers, {
      launch: async (driver) => {
        const launched = await driver.launch(RUN);
        forked = (await fork(driver, undisturbed.runId)).run!;
        return launched;
      },
      when: ({ step }) => step >= 80n,
      before: async (driver, runId) => {
        seen = await driver.events(runId);
        recorded = (await driver.run(runId)).step;
      },
    });
    expect(run.stateDigest).toBe(undisturbed.stateDigest);
    const events = await driver.events(run.runId);
    expect(recordProblems(events, seen)).toEqual([]);
    expect(started(events)[1]).toBeGreaterThanOrEqual(Number(recorded));
    expect(events.map(({ type }) => type)).not.toContain('RunRewound');
    expect((await driver.completed(forked!.runId)).stateDigest).toBe(undisturbedFork.stateDigest);
    await dead.start(); // stands by now, and removes nothing
    servers = [dead, driver];
    for (const { runId } of [run, forked!, undisturbed]) {
      const verdicts = await collect(dead.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId })));
      expect(verdicts.at(-1)!.summary!.problems).toEqual([]);
    }
  });

  it('set aside what a dead driver left behind, but nothing that a run needs', async () => {
    const [standby, driver] = servers as [TestServer, TestServer];
    await standby.kill();
    const { runId } = await driver.launch(RUN);
    await driver.until(runId, ({ step }) => step >= 40n);
    await driver.kill();
    const header = Buffer.from('{}      ');
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(header.length));
    const leftOver = Buffer.concat([size, header]);
    const { digest } = await (await openArtifactStore({ folder: artifacts })).put(leftOver);
    // makes the artifact old, since a young one may be about to be named
    utimesSync(join(artifacts, 'objects', digest.slice(0, 2), digest), 0, 0);
    expect(states().some((name) => name.endsWith(digest))).toBe(true);
    await standby.start();
    const run = await standby.completed(runId);
    while (states().some((name) => name.endsWith(digest))) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(readdirSync(join(artifacts, 'quarantine'))).toContain(digest);
    const verdicts = await collect(standby.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId: run.runId })));
    expect(verdicts.at(-1)!.summary!.problems).toEqual([]);
  });

  it('refuse an orchestrator of another event store, whose runs they know nothing of', async () => {
    const stranger = TestServer.inNewFolder({ ESPALIER_ARTIFACTS: artifacts });
    await expect(stranger.start()).rejects.toThrow('ARTIFACTS_OF_ANOTHER_STORE');
    await stranger.dispose();
  });
});

describe('an orchestrator on the embedded event store of another', () => {
  const owner = TestServer.inNewFolder();
  let guest: TestServer;
  beforeAll(() => owner.start());
  afterAll(async () => {
    await guest.dispose();
    await owner.dispose();
  });

  it('stands by, however long its owner has nothing to say', async () => {
    const undisturbed = (await owner.completed((await owner.launch(RUN)).runId)).stateDigest;
    guest = TestServer.inNewFolder({ ESPALIER_EVENT_STORE: owner.storeAddressFile, ESPALIER_LEASE_SECONDS: '1' });
    await guest.start();
    await new Promise((resolve) => setTimeout(resolve, 3_000)); // a lease of the guest's own length would have run out by then
    const refused = await guest.launch(RUN).then(
      () => null,
      (error: unknown) => error as EspalierError,
    );
    expect(codeOf(refused)).toBe('ORCHESTRATOR_STANDBY');
    expect(refused!.message).toContain(owner.listenAddress);
    const run = await owner.completed((await owner.launch(RUN)).runId);
    expect(run).toMatchObject({ stateDigest: undisturbed, restarts: 0, attempt: 1 });
    expect(await guest.run(run.runId)).toMatchObject({ stateDigest: undisturbed });
  });

  it('does not keep its owner from driving on after a crash or a stop', async () => {
    const { runId } = await owner.launch(RUN);
    await owner.until(runId, ({ step }) => step >= 40n);
    await owner.kill();
    expect(await owner.orphansGone()).toBe(true);
    await owner.start();
    expect((await owner.launch({ totalSteps: 20, warmupSteps: 10 })).runId).not.toBe('');
    expect(await owner.stop()).toBe(0);
    await owner.start();
    expect((await owner.completed(runId)).stateDigest).toMatch(/^[0-9a-f]{64}$/);
  });
});

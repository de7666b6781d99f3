// Tests a disk that is full and has room again after a while. No process may end, every client is told, and everything goes on by itself.
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { CLOSELY_MS, codeOf, CORPUS, ENDLESS, isOver, TestServer, TINY_MODEL, unary } from './harness/server.js';

// The rank is small, so that the small disks below hold the states once there is room.
const SETTINGS = { preset: 'short', totalSteps: 400, warmupSteps: 200, targetSparsity: 0.3, loraRank: 8 };

/** Mounts a small file system. Returns null where this user may not mount one. */
function smallDisk(mebibytes: number): string | null {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-disk-'));
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', folder]);
  if (status === 0) return folder;
  rmSync(folder, { recursive: true });
  return null;
}

function unmount(folder: string): void {
  spawnSync('umount', ['-l', folder]);
  rmSync(folder, { recursive: true, force: true });
}

/** Fills all the space that is left. */
function fill(file: string): void {
  const descriptor = openSync(file, 'a');
  try {
    for (const size of [1 << 20, 1 << 12, 1]) {
      try {
        for (;;) writeSync(descriptor, Buffer.alloc(size));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  } finally {
    closeSync(descriptor);
  }
}

const disk = smallDisk(100);
if (disk === null) console.warn('skipped: a small file system can only be mounted by root');

(disk === null ? describe.skip : describe)('a full disk', () => {
  const foreign = join(disk ?? '', 'foreign');
  const dataFolder = join(disk ?? '', 'data');
  let server: TestServer;
  let undisturbed: v1.Run;

  beforeAll(async () => {
    mkdirSync(dataFolder);
    server = new TestServer(dataFolder);
    await server.start();
    undisturbed = await server.completed((await server.launch(SETTINGS)).runId);
  });
  afterEach(() => rmSync(foreign, { force: true }));
  afterAll(async () => {
    await server.dispose();
    unmount(disk!);
  });

  /** Fills the disk while a run trains, so that the run waits. If the run is over by then, the same happens to another run. */
  async function fullOnTheWay(): Promise<{ runId: string; seen: v1.HistoryEvent[] }> {
    for (;;) {
      const { runId } = await server.launch(SETTINGS);
      await server.until(runId, ({ step }) => step >= 100n, CLOSELY_MS);
      const seen = await server.events(runId);
      fill(foreign);
      const run = await server.until(runId, (one) => one.waitingFor !== undefined || isOver(one));
      fill(foreign); // a state that was being written when the disk was full is removed, which leaves room
      if (!isOver(run)) return { runId, seen };
      rmSync(foreign);
    }
  }

  async function untilHealthIs(status: string): Promise<void> {
    const until = Date.now() + 240_000;
    while ((await server.health()) !== status) {
      if (Date.now() > until) throw new Error(`health is not ${status}`);
      await sleep(100);
    }
  }

  async function goesOnAsIfNothingHadBeen(runId: string, seen: v1.HistoryEvent[]): Promise<void> {
    const { stateDigest, restarts, status } = await server.completed(runId);
    expect({ stateDigest, restarts }).toEqual({ stateDigest: undisturbed.stateDigest, restarts: expect.any(Number) as number });
    expect(status).toBe(v1.RunStatus.RUN_STATUS_COMPLETED);
    expect(recordProblems(await server.events(runId), seen)).toEqual([]);
    await untilHealthIs('SERVING');
  }

  it('makes runs wait and says so; commands are refused at once, and when there is room all goes on', async () => {
    const { runId, seen } = await fullOnTheWay();
    const waiting = await server.run(runId);
    expect(waiting.waitingFor).toMatchObject({ message: expect.stringContaining(dataFolder) as string, command: '' });
    await untilHealthIs('NOT_SERVING');
    const refused = async (call: () => Promise<unknown>): Promise<void> => {
      const error = await call().catch((one: unknown) => one);
      expect(codeOf(error)).toBe('STORAGE_FULL');
      expect((error as Error).message).toContain(dataFolder);
    };
    await refused(() => server.launch(SETTINGS));
    await refused(() => unary<v1.PauseRunResponse>((done) => server.runs.pauseRun({ runId }, done)));
    await refused(() => unary<v1.CancelRunResponse>((done) => server.runs.cancelRun({ runId, reason: '' }, done)));
    await sleep(5_000); // long enough for every loop to have met the full disk
    rmSync(foreign);
    await goesOnAsIfNothingHadBeen(runId, seen);
    expect((await server.run(runId)).waitingFor).toBeUndefined();
    expect(server.log).toMatch(/log lines were lost|room again/);
  });

  it('leaves the room that it takes to delete a run: a reserve, which is set aside again once there is room', async () => {
    const artifacts = mkdtempSync(join(tmpdir(), 'espalier-artifacts-')); // elsewhere, so that only events need space
    const folder = join(disk!, 'own');
    const reserve = join(folder, 'reserve');
    mkdirSync(folder);
    const own = new TestServer(folder, { ESPALIER_ARTIFACTS: artifacts });
    const untilReserved = async (): Promise<void> => {
      for (const until = Date.now() + 240_000; !existsSync(reserve);) {
        if (Date.now() > until) throw new Error('no reserve is set aside');
        await sleep(100);
      }
    };
    try {
      await own.start();
      await untilReserved();
      const [deleted, thinned] = [await own.launch({ loraRank: 8, seed: 5n }), await own.launch({ loraRank: 8, seed: 6n })];
      for (const { runId } of [deleted, thinned]) await own.completed(runId);
      const long = await own.launch({ ...SETTINGS, ...ENDLESS });
      await own.until(long.runId, ({ step }) => step >= 10n);
      fill(foreign);
      await own.until(long.runId, (run) => run.waitingFor?.code === 'STORE_DISK_FULL');
      const { freedBytes } = await unary<v1.DeleteRunResponse>((done) =>
        own.runs.deleteRun({ runId: deleted.runId, reason: 'no room' }, done),
      );
      expect(freedBytes).toBeGreaterThan(0n);
      expect(existsSync(reserve)).toBe(false);
      expect((await own.run(deleted.runId)).status).toBe(v1.RunStatus.RUN_STATUS_DELETED);
      const request = v1.DiscardArtifactsRequest.fromPartial({ runId: thinned.runId, keepEvery: 2, reason: 'no room' });
      await unary<v1.DiscardArtifactsResponse>((done) => own.artifacts.discardArtifacts(request, done));
      rmSync(foreign);
      await untilReserved();
      expect(recordProblems(await own.events(deleted.runId))).toEqual([]);
    } finally {
      await own.dispose();
      rmSync(artifacts, { recursive: true, force: true });
    }
  });

  it('is foreseen at the launch, as in the plan', async () => {
    const settings = v1.RunSettings.fromPartial({ ...SETTINGS, totalSteps: 800, snapshotInterval: 0.001, loraRank: 64 });
    const data = { trainPath: CORPUS, validationPath: '' };
    const request = v1.LaunchRunRequest.fromPartial({ modelPath: TINY_MODEL, data, settings });
    const { run, warnings } = await unary<v1.LaunchRunResponse>((done) => server.runs.launchRun(request, done));
    await unary<v1.CancelRunResponse>((done) => server.runs.cancelRun({ runId: run!.runId, reason: '' }, done));
    const planned = v1.PlanRunRequest.fromPartial({ modelPath: TINY_MODEL, settings });
    const plan = await unary<v1.PlanRunResponse>((done) => server.runs.planRun(planned, done));
    for (const told of [warnings, plan.warnings])
      expect(told).toMatchObject([
        {
          code: 'DISK_TOO_SMALL',
          message: expect.stringMatching(/^up to \d+ snapshots take at most [\d.]+ [KMG]iB, and the disk/) as string,
        },
      ]);
  });

  it("also when the run's own states filled the disk of the artifacts: then it can be paused all the same", async () => {
    const states = smallDisk(4)!;
    const own = TestServer.inNewFolder({ ESPALIER_ARTIFACTS: states });
    try {
      await own.start();
      const { runId } = await own.launch(SETTINGS);
      const waiting = await own.until(runId, (run) => run.waitingFor !== undefined);
      expect(waiting.waitingFor).toMatchObject({ code: 'ARTIFACT_STORE_FULL', message: expect.stringContaining(states) as string });
      await unary<v1.PauseRunResponse>((done) => own.runs.pauseRun({ runId }, done));
      const paused = await own.until(runId, ({ status }) => status === v1.RunStatus.RUN_STATUS_PAUSED);
      expect(paused.waitingFor).toBeUndefined();
      await unary<v1.ResumeRunResponse>((done) => own.runs.resumeRun({ runId, from: undefined, acceptOtherNumerics: false }, done));
      await own.until(runId, (run) => run.waitingFor?.code === 'ARTIFACT_STORE_FULL');
      spawnSync('mount', ['-o', 'remount,size=64m', states]);
      const { stateDigest, restarts } = await own.completed(runId);
      expect({ stateDigest, restarts }).toEqual({ stateDigest: undisturbed.stateDigest, restarts: 0 });
      expect(recordProblems(await own.events(runId))).toEqual([]);
    } finally {
      await own.dispose();
      unmount(states);
    }
  });

  it('also while an engine writes a state in slices: the run tries again until there is room', async () => {
    const states = smallDisk(4)!;
    const own = TestServer.inNewFolder({ ESPALIER_ARTIFACTS: states, ESPALIER_SLICE_BYTES: '32768' });
    try {
      await own.start();
      const { runId } = await own.launch(SETTINGS);
      await own.until(runId, ({ restarts }) => restarts > 0);
      const lost = (await own.events(runId)).find(({ type }) => type === 'EngineLost')!;
      expect(lost.dataJson).toContain('ENGINE_DISK_FULL');
      spawnSync('mount', ['-o', 'remount,size=64m', states]);
      const { stateDigest } = await own.completed(runId);
      expect((await own.completed((await own.launch(SETTINGS)).runId)).stateDigest).toBe(stateDigest);
      expect(recordProblems(await own.events(runId))).toEqual([]);
    } finally {
      await own.dispose();
      unmount(states);
    }
  });

  it('and the death of engine and event store meanwhile', async () => {
    const { runId, seen } = await fullOnTheWay();
    server.signal('engine', 'SIGKILL');
    server.signal('store', 'SIGKILL');
    await sleep(3_000);
    rmSync(foreign);
    await goesOnAsIfNothingHadBeen(runId, seen);
  });

  it('and the death of all processes: the next ones go on once there is room', async () => {
    const { runId, seen } = await fullOnTheWay();
    await server.kill('engine', 'store');
    rmSync(foreign);
    await server.start();
    await goesOnAsIfNothingHadBeen(runId, seen);
  });
});

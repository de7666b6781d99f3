// Tests a fleet on a real Slurm of two nodes. When jobs are cancelled, preempted, lost or refused, or Slurm is away, runs must go on and
// end with the bits of an undisturbed one. No job may be left over or asked for twice.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EspalierError, v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { CLOSELY_MS, isEmpty, isOver, TestServer, unary } from './harness/server.js';
import { TestSlurm, whyNoSlurm } from './harness/slurm.js';

/** A run that is long enough for Slurm to act on its job meanwhile. */
const RUN: Partial<v1.RunSettings> = { totalSteps: 600, warmupSteps: 300, segmentSteps: 20 };
/** A run for all that does not depend on what happens on its way. */
const SHORT: Partial<v1.RunSettings> = { totalSteps: 60, warmupSteps: 30 };
const why = whyNoSlurm();
if (why !== null) process.stderr.write(`${why}\n`);

(why === null ? describe : describe.skip)('a fleet of Slurm', () => {
  let slurm: TestSlurm;
  let server: TestServer;
  let alone: string;
  let shortAlone: string;

  const port = 20_000 + (process.pid % 20_000);
  const fleetFile = (): string => join(slurm.folder, 'fleet.yaml');
  const fleetText = (idleSeconds: number): string =>
    `kind: slurm\nmax_engines: 2\ncpus: 1\nidle_seconds: ${idleSeconds}\npoll_seconds: 1\njoin: 127.0.0.1:${port}\n` +
    'partitions: low\nmemory_gb: 1\ntime_limit_minutes: 10\nsbatch: [--nice=1]\n';

  beforeAll(async () => {
    const local = TestServer.inNewFolder();
    await local.start();
    alone = (await local.completed((await local.launch(RUN)).runId)).stateDigest;
    shortAlone = (await local.completed((await local.launch(SHORT)).runId)).stateDigest;
    await local.dispose();
    slurm = await TestSlurm.start();
    server = TestServer.inNewFolder({ ...slurm.env, ESPALIER_LEASE_SECONDS: '3' });
    writeFileSync(fleetFile(), fleetText(10));
    server.options = ['--listen', `127.0.0.1:${port}`, '--fleet', fleetFile()];
    await server.start();
  });

  afterAll(async () => {
    await server?.dispose();
    await slurm?.stop();
  });

  const trained = ({ step }: v1.Run): boolean => step >= 20n;
  /** The job whose engine trains the run. */
  const jobOf = async (runId: string): Promise<v1.FleetJob> => {
    const engine = (await server.engines()).find((one) => one.runId === runId)?.name;
    const job = (await server.fleetUntil(({ jobs }) => jobs.length > 0)).jobs.find((one) => one.engine === engine);
    if (job === undefined) throw new EspalierError('RUN_FINISHED', 'no engine trains the run any more');
    return job;
  };

  async function endsTheSame(by: (runId: string) => Promise<unknown>): Promise<v1.Run> {
    const run = await server.disturbed({
      launch: () => server.launch(RUN),
      when: trained,
      by: async (runId) => {
        await by(runId);
        return undefined;
      },
    });
    expect(run.stateDigest).toBe(alone);
    expect(recordProblems(await server.events(run.runId))).toEqual([]);
    return run;
  }
  const lossesOf = async ({ runId }: v1.Run): Promise<string[]> =>
    (await server.events(runId)).map(({ summary }) => summary).filter((one) => one.includes('lost its'));
  const inGoodOrder = [expect.stringContaining('ENGINE_LEFT')];

  it('brings an engine to a run that waits, and lets it go when nothing is left to do', async () => {
    const { runId } = await server.launch(SHORT);
    const run = await server.completed(runId);
    expect(run.stateDigest).toBe(shortAlone);
    expect(run.attempt).toBe(1);
    expect(slurm.submitted()).toBe(1);
    const { ended } = await server.fleetUntil(isEmpty);
    expect(ended[0]).toMatchObject({ id: '1', state: 'COMPLETED', joined: true });
    expect(slurm.jobs()).toEqual([]);
    expect(await server.engines()).toEqual([]);
  });

  it('goes on after scancel in the middle of a segment, and nothing that was trained is lost', async () => {
    const run = await endsTheSame(async (runId) => slurm.run('scancel', [(await jobOf(runId)).id]));
    expect(await lossesOf(run)).toEqual(inGoodOrder);
  });

  it('goes on after a preemption, as soon as the other job is done', async () => {
    const run = await endsTheSame(async (runId) => {
      const { id } = await jobOf(runId);
      const blocker = slurm.block(['--partition=high', '--nodes=2', '--exclusive']);
      await server.fleetUntil(({ ended }) => ended.some((job) => job.id === id));
      await server.until(runId, (one) => isOver(one) || one.waitingFor !== undefined);
      slurm.run('scancel', [blocker]);
    });
    expect(await lossesOf(run)).toEqual(inGoodOrder);
  });

  it('goes on after a node went down', async () => {
    let node = '';
    await endsTheSame(async (runId) => {
      ({ node } = await jobOf(runId));
      slurm.run('scontrol', ['update', `nodename=${node}`, 'state=down', 'reason=test']);
    });
    const { ended } = await server.fleetUntil(({ ended }) => ended.some(({ state }) => state === 'NODE_FAIL'));
    expect(ended.find(({ state }) => state === 'NODE_FAIL')).toMatchObject({ node });
    await slurm.isWhole();
  });

  it('waits in a full queue, says why, and cancels the job that no run needs any more', async () => {
    const blocker = slurm.block(['--partition=high', '--nodes=2', '--exclusive']);
    await slurm.until(() => slurm.jobs().some(({ state }) => state === 'RUNNING'), 'a full cluster');
    const { runId } = await server.launch(SHORT);
    const waits = await server.until(runId, ({ waitingFor }) => /waits \((Resources|Priority)\)/.test(waitingFor?.message ?? ''));
    expect(waits.waitingFor!.code).toBe('ENGINE_UNAVAILABLE');
    await unary((done) => server.runs.cancelRun({ runId, reason: '' }, done));
    await server.fleetUntil(isEmpty);
    expect(slurm.jobs().map(({ id }) => id)).toEqual([blocker]);
    slurm.run('scancel', [blocker]);
    await slurm.until(() => slurm.jobs().length === 0, 'an empty cluster');
  });

  it('asks a few times where Slurm takes no job, says why, and goes on when it does', async () => {
    slurm.run('scontrol', ['update', 'partitionname=low', 'state=inactive']);
    const { runId } = await server.launch(SHORT);
    const { problem, notBefore } = await server.fleetUntil((fleet) => fleet.problem !== undefined);
    expect(problem).toMatchObject({ code: 'FLEET_JOB_REFUSED', message: expect.stringContaining('Required partition not available') });
    expect(notBefore!.getTime()).toBeGreaterThan(Date.now());
    await server.until(runId, ({ waitingFor }) => /partition not available/.test(waitingFor?.message ?? ''));
    slurm.run('scontrol', ['update', 'partitionname=low', 'state=up']);
    expect((await server.completed(runId)).stateDigest).toBe(shortAlone);
    expect(server.log.match(/Required partition not available/g)!.length).toBeLessThan(10);
  });

  it('trains on while Slurm does not answer, says so, and asks it again later', async () => {
    const { runId } = await server.launch(RUN);
    await server.until(runId, trained, CLOSELY_MS);
    await slurm.kill('slurmctld');
    const { problem } = await server.fleetUntil((fleet) => fleet.problem !== undefined);
    expect(problem).toMatchObject({ code: 'FLEET_UNREACHABLE', message: expect.stringContaining('squeue: ') });
    slurm.startController();
    expect((await server.completed(runId)).stateDigest).toBe(alone);
    await server.fleetUntil(({ problem: now }) => now === undefined);
  });

  it('has as many engines as it may, and no more', async () => {
    const before = slurm.submitted();
    const runs = await Promise.all([1, 2, 3].map(() => server.launch(SHORT)));
    const all = Promise.all(runs.map(({ runId }) => server.completed(runId)));
    let over = false;
    const look = async (): Promise<number> => {
      let most = 0;
      while (!over) {
        most = Math.max(most, slurm.jobs().filter(({ state }) => state === 'PENDING' || state === 'RUNNING').length);
        await sleep(100);
      }
      return most;
    };
    const most = look();
    const completed = await all.finally(() => (over = true));
    expect(completed.map(({ stateDigest }) => stateDigest)).toEqual(runs.map(() => shortAlone));
    expect(await most).toBeLessThanOrEqual(2);
    // An idle engine may leave while the runs are launched, and then one more job takes its place.
    expect(slurm.submitted() - before).toBeLessThanOrEqual(3);
    await server.fleetUntil(isEmpty);
  });

  it('has its jobs again after the server was killed, and asks for no other', async () => {
    await server.kill();
    writeFileSync(fleetFile(), fleetText(600));
    await server.start();
    const before = slurm.submitted();
    await endsTheSame(async (runId) => {
      const { id } = await jobOf(runId);
      await server.kill();
      await server.start();
      expect((await server.fleetUntil(({ jobs }) => jobs.some(({ joined }) => joined))).jobs.map((job) => job.id)).toEqual([id]);
    });
    expect(slurm.submitted()).toBe(before + 1);
  });
});

// Tests the engines of a fleet of this machine with the real processes: their number, their token, their deaths, and that of the server.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { CLOSELY_MS, isEmpty, TestServer, unary } from './harness/server.js';

const HANGS_AFTER_MS = 240_000;
const RUN: Partial<v1.RunSettings> = { totalSteps: 240, warmupSteps: 120 };
/** The settings of a run for the tests in which nothing has to happen while it trains. */
const SHORT: Partial<v1.RunSettings> = { totalSteps: 60, warmupSteps: 30 };
let alone: string;
let shortAlone: string;
const servers: TestServer[] = [];
const folder = mkdtempSync(join(tmpdir(), 'espalier-fleets-'));

beforeAll(async () => {
  const local = TestServer.inNewFolder();
  await local.start();
  alone = (await local.completed((await local.launch(RUN)).runId)).stateDigest;
  shortAlone = (await local.completed((await local.launch(SHORT)).runId)).stateDigest;
  await local.dispose();
});
afterAll(async () => {
  for (const server of servers) await server.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const FILE = 'kind: local\nmax_engines: 2\ncpus: 1\nidle_seconds: 12\npoll_seconds: 1\n';
const lastFile = (): string => join(folder, `${servers.length}.yaml`);

async function serverWith(): Promise<TestServer> {
  const server = TestServer.inNewFolder();
  servers.push(server);
  const file = lastFile();
  writeFileSync(file, FILE);
  server.options = ['--fleet', file];
  await server.start();
  return server;
}

/** Waits until the process has ended, which it does after its present step. */
async function untilGone(pid: number): Promise<void> {
  for (const until = Date.now() + HANGS_AFTER_MS; Date.now() < until;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await sleep(50);
  }
  throw new Error(`process ${pid} is still there`);
}

describe('a fleet of this machine', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await serverWith();
  });

  const pidOfEngine = async (): Promise<number> =>
    Number((await server.fleetUntil(({ jobs }) => jobs.some(({ joined }) => joined))).jobs[0]!.id);
  const endsTheSame = async (signal: NodeJS.Signals): Promise<v1.Run> => {
    const run = await server.disturbed({
      launch: () => server.launch(RUN),
      when: ({ step }) => step >= 20n,
      by: async () => {
        process.kill(await pidOfEngine(), signal);
        return undefined;
      },
    });
    expect(run.stateDigest).toBe(alone);
    expect(recordProblems(await server.events(run.runId))).toEqual([]);
    return run;
  };

  it('brings engines to runs that wait, at most as many as it may have, and lets them go', async () => {
    const runs = await Promise.all([1, 2, 3].map(() => server.launch(SHORT)));
    let [most, areOver] = [0, false];
    const completed = Promise.all(runs.map(({ runId }) => server.completed(runId))).finally(() => (areOver = true));
    await server.fleetUntil(({ jobs }) => {
      most = Math.max(most, jobs.length);
      return areOver;
    });
    expect(most).toBe(2);
    expect((await completed).map(({ stateDigest }) => stateDigest)).toEqual([shortAlone, shortAlone, shortAlone]);
    const { ended, problem } = await server.fleetUntil(isEmpty);
    expect(ended.every(({ state, joined }) => state === 'COMPLETED' && joined)).toBe(true);
    expect(problem).toBeUndefined();
    expect(await server.engines()).toEqual([]);
  });

  it('lets its engines in by a token that its user alone can read, and that no command line or log has', async () => {
    const file = join(server.dataFolder, 'fleet/token');
    const secret = readFileSync(file, 'utf8').trim();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const logs = readdirSync(join(server.dataFolder, 'fleet/logs')).map((name) =>
      readFileSync(join(server.dataFolder, 'fleet/logs', name), 'utf8'),
    );
    expect(logs.length).toBeGreaterThan(0);
    for (const text of [server.log, ...logs]) expect(text).not.toContain(secret.slice(-43));
  });

  it('takes a segment that an engine hands in when it is told to end, and goes on elsewhere', async () => {
    const { runId } = await endsTheSame('SIGTERM');
    const told = (await server.events(runId)).map(({ summary }) => summary);
    expect(told.filter((one) => one.includes('lost its engine'))).toEqual([expect.stringContaining('ENGINE_LEFT')]);
  });

  it('asks for the kind of job that a run can go on with, though another kind stands before it', async () => {
    const { runId } = await server.launch(RUN);
    await server.until(runId, ({ step }) => step >= 20n, CLOSELY_MS);
    const pid = await pidOfEngine();
    writeFileSync(lastFile(), `${FILE}jobs: {two: {cpus: 2}, one: {}}\n`);
    process.kill(pid, 'SIGTERM');
    expect((await server.completed(runId)).stateDigest).toBe(alone);
    const { ended } = await server.fleetUntil(isEmpty);
    expect(ended[0]!.engine).toMatch(/^local-one-/);
    expect(ended.filter(({ engine }) => engine.startsWith('local-two-'))).toEqual([]);
    writeFileSync(lastFile(), FILE.replace('cpus: 1', 'cpus: 2'));
    const begun = await server.launch(RUN);
    await server.until(begun.runId, ({ step }) => step >= 20n, CLOSELY_MS);
    const other = await pidOfEngine();
    writeFileSync(lastFile(), FILE);
    process.kill(other, 'SIGTERM');
    await server.until(begun.runId, ({ waitingFor }) => /no job of the fleet is asked for.*2 threads/.test(waitingFor?.message ?? ''));
    await unary((done) => server.runs.cancelRun({ runId: begun.runId, reason: '' }, done));
    expect((await server.fleetUntil(isEmpty)).ended[0]!.id).toBe(String(other));
  });

  it('goes on when an engine was killed, and says how it ended', async () => {
    await endsTheSame('SIGKILL');
    expect((await server.fleetUntil(isEmpty)).ended).toContainEqual(expect.objectContaining({ state: 'FAILED', reason: 'SIGKILL' }));
  });

  it('ends with a server that is killed, and the run goes on at its next start', async () => {
    const { runId } = await server.launch(RUN);
    await server.until(runId, ({ step }) => step >= 20n, CLOSELY_MS);
    const pid = await pidOfEngine();
    await server.kill();
    await server.orphansGone();
    await untilGone(pid);
    await server.start();
    expect((await server.completed(runId)).stateDigest).toBe(alone);
    await server.fleetUntil(isEmpty);
  });
});

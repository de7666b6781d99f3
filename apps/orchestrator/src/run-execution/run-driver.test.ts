// Tests the driver over a pool of scripted engines. Each test says which runs and engines there are and what happens, and expects certain
// facts in the record.
import { setTimeout as sleep } from 'node:timers/promises';
import { engineV1, EspalierError, v1 } from '#protocol';
import { scriptedState, ScriptedEngine } from '../engines/testing.js';
import type { ScriptedConnector } from '../engines/testing.js';
import type { EnginePool } from '../engine-pool/engine-pool.js';
import { BY_SERVER } from '../event-sourcing/call-context.js';

import { launched } from '../pruning-run/testing.js';
import { SpeedTables } from '../run-inputs/speed-tables.js';
import type { RunDriver } from './run-driver.js';
import { driverOf, World } from './testing.js';

const RUNS = ['aaaaaaaaaaaa', 'bbbbbbbbbbbb', 'cccccccccccc'] as const;
const settings = { totalSteps: 20, warmupSteps: 20, segmentSteps: 10, targetSparsity: 0.005, recipe: 'distill' } as const;

let world: World;
let engines: ScriptedEngine[];
let pool: EnginePool;
let connectors: ScriptedConnector[];
let driver: RunDriver;
let held: boolean;
let leaseChanged: () => void;

/** @param holdAt engines wait before this step until the test calls `letOn` */
function drive(count: number, holdAt = Infinity): { letOn: () => void } {
  world = new World();
  held = true;
  let letOn: () => void = () => undefined;
  const go = new Promise<void>((resolve) => {
    letOn = resolve;
  });
  engines = Array.from({ length: count }, () => new ScriptedEngine());
  for (const engine of engines) engine.beforeStep = (step) => (step >= holdAt ? go : undefined);
  ({ pool, connectors } = world.pool(...engines));
  const lease = {
    get held() {
      return held;
    },
    start: () => Promise.resolve(),
    onChange: (listener: () => void) => {
      leaseChanged = listener;
    },
    standby: () => new EspalierError('ORCHESTRATOR_STANDBY', 'another drives'),
  };
  driver = driverOf(world, pool, lease);
  return { letOn };
}
afterEach(() => driver.stop());

const launch = (runId: string): Promise<void> => world.given(runId, [launched(settings, runId)]);
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(1);
}
const trained = (engine: ScriptedEngine): boolean => engine.asked.some((one) => one.startsWith('train'));
const hasEnded = (runId: string): boolean => world.recorded(runId).at(-1) === 'RunCompleted';
const slotOf = (runId: string): unknown => world.last(runId, 'EngineAttached')['engineName'];

test('two runs train side by side on two engines, a third waits for its turn', async () => {
  const { letOn } = drive(2, 5);
  for (const runId of RUNS) await launch(runId);
  await driver.start();
  await until(() => engines.every(trained));
  expect(pool.slots.map(({ runId, status }) => [runId, status])).toEqual([
    [RUNS[0], 'busy'],
    [RUNS[1], 'busy'],
  ]);
  expect(world.recorded(RUNS[2])).toEqual(['RunLaunched']);
  expect(world.live.queuedFor(RUNS[2])).toBe(
    `an engine that is free: ${pool.slots[0]!.name} works for run ${RUNS[0]}, ${pool.slots[1]!.name} works for run ${RUNS[1]}`,
  );
  expect(world.live.queuedFor(RUNS[0])).toBe('');
  letOn();
  await until(() => RUNS.every(hasEnded));
  expect(world.live.queuedFor(RUNS[2])).toBe('');
  for (const runId of RUNS) expect(world.last(runId, 'RunCompleted')).toMatchObject({ stateDigest: scriptedState(20) });
});

test('the death of one engine of two harms only its run, which goes on by itself', async () => {
  const { letOn } = drive(2, 15);
  for (const runId of RUNS.slice(0, 2)) await launch(runId);
  await driver.start();
  await until(() => RUNS.slice(0, 2).every((runId) => world.recorded(runId).includes('MasksUpdated')));
  const victim = pool.slots[0]!.runId;
  connectors[0]!.die('killed by SIGKILL');
  letOn();
  await until(() => RUNS.slice(0, 2).every(hasEnded));
  const other = RUNS.slice(0, 2).find((runId) => runId !== victim)!;
  expect(world.recorded(victim)).toContain('EngineLost');
  expect(world.recorded(other)).not.toContain('EngineLost');
});

test('a job goes to the free engine, and the run that trains is not interrupted', async () => {
  const { letOn } = drive(2, 5);
  await launch(RUNS[0]);
  await driver.start();
  await until(() => engines.some(trained));
  const wish = { runId: RUNS[0], needsOurFiles: false, doing: 'an evaluation' };
  const job = world.jobs.submit((bench) => Promise.resolve(bench.engine), wish, new AbortController().signal);
  const training = pool.slots.find(({ runId }) => runId === RUNS[0])!;
  expect(await job.result).not.toBe(training.supervisor.live);
  expect(engines.flatMap(({ asked }) => asked)).not.toContain('stopTraining');
  letOn();
  await until(() => hasEnded(RUNS[0]));
});

test('a job makes room on the one engine there is; its client hears what it waits for', async () => {
  const { letOn } = drive(1, 5);
  await launch(RUNS[0]);
  await driver.start();
  await until(() => trained(engines[0]!));
  const wish = { runId: RUNS[0], needsOurFiles: false, doing: 'an evaluation' };
  const job = world.jobs.submit(() => Promise.resolve('done'), wish, new AbortController().signal);
  await until(() => engines[0]!.asked.includes('stopTraining'));
  expect(job.waitingFor).toContain(`the segment of run ${RUNS[0]}`);
  letOn();
  expect(await job.result).toBe('done');
  await until(() => hasEnded(RUNS[0]));
});

test('a speed table is measured between two segments, and the run that trained then goes on with the same attempt', async () => {
  const { letOn } = drive(1, 5);
  const [engine] = engines as [ScriptedEngine];
  const beside: string[] = [];
  engine.client.measureSpeedTable = () => {
    beside.push(pool.slots[0]!.doing);
    return Promise.resolve(engineV1.MeasureSpeedTableResponse.fromPartial({}));
  };
  const tables = new SpeedTables(pool, world.jobs, world.artifacts, {} as never);
  await launch(RUNS[0]);
  await driver.start();
  await until(() => trained(engine));
  const request = v1.MeasureSpeedTableRequest.fromPartial({ modelPath: '/models/tiny', on: 'cpu' });
  const measured = tables.measure(request, null, new AbortController().signal);
  await until(() => engine.asked.includes('stopTraining'));
  expect(beside).toEqual([]);
  letOn();
  expect((await measured).problem).not.toBe(''); // the script has no table
  expect(beside).toEqual(['the measurement of a speed table']);
  await until(() => hasEnded(RUNS[0]));
  expect(world.recorded(RUNS[0]).filter((type) => type === 'AttemptStarted')).toHaveLength(1);
});

test('a job on an engine that can’t start is refused with the reason', async () => {
  drive(1);
  await driver.start();
  pool.slots[0]!.supervisor.acquire = () => Promise.reject(new EspalierError('ENGINE_UNAVAILABLE', 'it has no addon'));
  const job = world.jobs.submit(() => Promise.resolve(), { runId: 'x', needsOurFiles: false, doing: '' }, new AbortController().signal);
  await expect(job.result).rejects.toMatchObject({ code: 'ENGINE_UNAVAILABLE' });
});

test('attempts of a former process are closed at the start, and their runs go on', async () => {
  drive(1);
  await launch(RUNS[0]);
  await world.runs.change(RUNS[0], { kind: 'startAttempt', attempt: 1 }, { by: BY_SERVER });
  await until(() => world.feed.unfinished()[0]?.attemptOpen === true);
  await driver.start();
  await until(() => hasEnded(RUNS[0]));
  expect(world.recorded(RUNS[0]).slice(1, 4)).toEqual(['AttemptStarted', 'EngineLost', 'AttemptStarted']);
  expect(world.last(RUNS[0], 'EngineLost')).toMatchObject({ code: 'ORCHESTRATOR_RESTARTED', cause: 'orchestrator' });
});

test('who stands by drives nothing and refuses jobs; who takes over does', async () => {
  drive(1);
  held = false;
  await launch(RUNS[0]);
  await driver.start();
  const job = world.jobs.submit(() => Promise.resolve(), { runId: RUNS[0], needsOurFiles: false, doing: '' }, new AbortController().signal);
  const refused = expect(job.result).rejects.toMatchObject({ code: 'ORCHESTRATOR_STANDBY' });
  leaseChanged();
  await refused;
  expect(world.recorded(RUNS[0])).toEqual(['RunLaunched']);
  held = true;
  leaseChanged();
  await until(() => hasEnded(RUNS[0]));
});

test('a stop pauses all runs at their next step and leaves no engine', async () => {
  const { letOn } = drive(2, 5);
  for (const runId of RUNS.slice(0, 2)) await launch(runId);
  await driver.start();
  await until(() => engines.every(trained));
  const stopped = driver.stop();
  letOn();
  await stopped;
  for (const runId of RUNS.slice(0, 2)) expect(world.last(runId, 'RunPaused')).toMatchObject({ by: 'shutdown' });
  expect(connectors.flatMap(({ ended }) => ended)).toEqual(['ended in good order', 'ended in good order']);
});

test('a stop ends a job under way, and refuses those that wait and those that come', async () => {
  drive(1);
  await driver.start();
  const wish = { runId: 'x', needsOurFiles: false, doing: 'an evaluation' };
  const endless = (_: unknown, signal: AbortSignal): Promise<never> =>
    new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('the engine stopped it'))));
  const submitted = (): Promise<unknown> => world.jobs.submit(endless, wish, new AbortController().signal).result;
  const early = [submitted(), submitted()].map((job) => expect(job).rejects.toMatchObject({ code: 'SHUTTING_DOWN' }));
  await until(() => pool.slots[0]!.doing === 'an evaluation');
  await driver.stop();
  await Promise.all(early);
  await expect(submitted()).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
  expect(connectors[0]!.ended).toEqual(['ended in good order']);
});

test('a run whose numerics no free engine has waits for the one that does', async () => {
  const { letOn } = drive(2, 5);
  await launch(RUNS[0]);
  await driver.start();
  await until(() => engines.some(trained));
  const [used, idle] = pool.slots[0]!.isTaken ? [engines[0]!, engines[1]!] : [engines[1]!, engines[0]!];
  idle.fingerprint = 'other numerics';
  const at = pool.slots.findIndex(({ isTaken }) => isTaken);
  await pool.slots[1 - at]!.acquire(); // the other engine runs, and can be asked
  connectors[at]!.die('killed');
  letOn();
  await until(() => hasEnded(RUNS[0]));
  expect(slotOf(RUNS[0])).toBe(pool.slots[at]!.name);
  expect(trained(idle)).toBe(false);
  expect(used.asked.filter((one) => one === 'openSession')).toHaveLength(2);
});

test('a recorded delay before the next attempt is kept where the feed is behind the record', async () => {
  drive(1);
  world.feedDelayMs = 50;
  await launch(RUNS[0]);
  engines[0]!.failures.set('openSession', new EspalierError('ENGINE_BUSY', 'the engine is busy with another piece of work'));
  await driver.start();
  await until(() => hasEnded(RUNS[0]));
  expect(world.recorded(RUNS[0]).filter((type) => type === 'AttemptStarted')).toHaveLength(2);
  const [lost, next] = ['EngineLost', 'AttemptStarted'].map((type) => world.at(RUNS[0], type));
  expect(next! - lost!).toBeGreaterThanOrEqual(Number(world.last(RUNS[0], 'EngineLost')['restartDelayMs']));
});

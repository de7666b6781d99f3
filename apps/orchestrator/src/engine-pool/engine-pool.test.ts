// Tests the pool over several scripted engines. Each test gives the engines' answers about a run, and expects which engines are asked and
// which one is chosen.
import { engineV1, EspalierError } from '#protocol';
import { EngineSupervisor } from '../engines/engine-supervisor.js';
import { ScriptedConnector, ScriptedEngine } from '../engines/testing.js';
import type { EngineApi } from '../engines/wire/engine-client.js';
import { launched, Story } from '../pruning-run/testing.js';
import { EnginePool } from './engine-pool.js';
import { EngineSlot } from './engine-slot.js';
import type { EngineSource } from './engine-source.js';

const log = { info: () => undefined, warn: () => undefined } as never;
const artifacts = { open: () => Promise.reject(new Error('nothing is there')) } as never;
const run = new Story(launched()).state;
const planned = ({ asked }: ScriptedEngine): number => asked.filter((method) => method === 'planMemory').length;
let pools: EnginePool[];

beforeEach(() => {
  pools = [];
});
afterEach(async () => {
  for (const pool of pools) await pool.stop();
});

/** A pool with one slot for each engine, on the device that stands beside it. */
function poolOf(...engines: [engine: ScriptedEngine | Error, device: string][]): EnginePool {
  const slots = engines.map(([engine, device], index) => {
    const connector = new ScriptedConnector([engine]);
    const name = `local-${index + 1}`;
    const supervisor = new EngineSupervisor(connector, { name, log });
    return new EngineSlot({ name, connector, supervisor, threads: 2, device, artifacts, bootId: 'this machine', log });
  });
  const pool = new EnginePool(slots);
  pools.push(pool);
  return pool;
}

test('of local engines on one device one is asked for all; each device is asked for itself', async () => {
  const [first, alike, other] = [new ScriptedEngine(), new ScriptedEngine(), new ScriptedEngine()];
  const pool = poolOf([first, 'cpu'], [alike, 'cpu'], [other, 'cuda:0']);
  await pool.place([run], []);
  expect([first, alike, other].map(planned)).toEqual([1, 0, 1]);
});

test('a run goes to the engine with its numerics, though another is first', async () => {
  const [other, same] = [new ScriptedEngine(), new ScriptedEngine()];
  other.fingerprint = 'others';
  same.fingerprint = 'its own';
  const pool = poolOf([other, 'cuda:0'], [same, 'cpu']);
  const begun = { ...run, numericsFingerprint: 'its own' };
  expect((await pool.place([begun], [])).runs).toMatchObject([{ runId: run.runId, slot: 'local-2' }]);
  expect((await pool.place([{ ...begun, acceptOtherNumerics: true }], [])).runs).toMatchObject([{ slot: 'local-1' }]);
});

test('the place where a run would go on is known though its engine works, and open where that engine does not answer', async () => {
  const [other, same] = [new ScriptedEngine(), new ScriptedEngine()];
  other.fingerprint = 'others';
  same.fingerprint = 'its own';
  const begun = { ...run, numericsFingerprint: 'its own' };
  const pool = poolOf([other, 'cuda:0'], [same, 'cpu']);
  const slot = pool.slots[1]!;
  await slot.acquire();
  slot.occupy({ doing: 'something', runId: 'x' });
  expect(await pool.placeToGoOn(begun)).toEqual({ engine: 'local-2', numericsFingerprint: 'its own' });
  expect(await poolOf([other, 'cuda:0']).placeToGoOn(begun)).toEqual({ engine: 'local-1', numericsFingerprint: 'others' });
  expect(await poolOf([new EspalierError('ENGINE_UNAVAILABLE', 'it does not start'), 'cuda:0']).placeToGoOn(begun)).toBeNull();
});

test('without a free engine none is asked', async () => {
  const [first, second] = [new ScriptedEngine(), new ScriptedEngine()];
  const pool = poolOf([first, 'cpu'], [second, 'cpu']);
  for (const slot of pool.slots) slot.occupy({ doing: 'something', runId: 'x' });
  expect((await pool.place([run], [])).runs).toEqual([]);
  expect([first, second].map(planned)).toEqual([0, 0]);
});

test('a plan names the engine that a new run would get, and has its memory', async () => {
  const [small, large] = [new ScriptedEngine(), new ScriptedEngine()];
  small.availableBytes = 2_000n;
  large.availableBytes = 20_000n;
  const pool = poolOf([small, 'cpu'], [large, 'cuda:0']);
  expect(await pool.forNewRun(run)).toMatchObject({ engine: 'local-2', memory: { availableBytes: 20_000n } });
});

test('an engine that runs already is asked before one is started, and a broken one is passed over', async () => {
  const [first, second] = [new ScriptedEngine(), new ScriptedEngine()];
  const running = poolOf([first, 'cpu'], [second, 'cpu']);
  await running.slots[1]!.acquire();
  expect((await running.consult()).slot.name).toBe('local-2');
  const broken = poolOf([new EspalierError('ENGINE_UNAVAILABLE', 'it does not start'), 'cuda:0'], [second, 'cpu']);
  expect((await broken.consult()).slot.name).toBe('local-2');
});

test('an engine on a device is found behind others, and one of each other device is asked', async () => {
  const [cpu, alike, card] = [new ScriptedEngine(), new ScriptedEngine(), new ScriptedEngine()];
  card.backend = 'cuda:0';
  const pool = poolOf([cpu, 'cpu'], [alike, 'cpu'], [card, 'cuda:0']);
  expect(await pool.consultOn('cuda:0')).toMatchObject({ slot: { name: 'local-3' }, device: 'cuda:0' });
  expect(await pool.consultOn('cuda:7')).toEqual({ others: ['cpu', 'cuda:0'] });
  expect(pool.slots.map(({ status }) => status)).toEqual(['idle', 'notStarted', 'idle']);
  const broken = poolOf([new EspalierError('ENGINE_UNAVAILABLE', 'it does not start'), 'cuda:0']);
  await expect(broken.consultOn('cuda:0')).rejects.toThrow('it does not start');
});

test('a pool can work while any engine is there for it', () => {
  const pool = poolOf([new ScriptedEngine(), 'cpu']);
  expect(pool.canWork).toBe(true);
  const connector = new ScriptedConnector([new ScriptedEngine()], true);
  const supervisor = new EngineSupervisor(connector, { name: 'named', log });
  const named = new EngineSlot({ name: 'named', connector, supervisor, threads: 2, artifacts, bootId: '', log });
  expect(new EnginePool([named]).canWork).toBe(false); // another orchestrator drives the runs
});

test('no engine of a user answers what the server must believe: an engine of this installation does, even if none has runs', async () => {
  const [users, ours] = [new ScriptedEngine(), new ScriptedEngine()];
  const named = new ScriptedConnector([users], true);
  const slot = new EngineSlot({
    ...{ name: 'named', connector: named, supervisor: new EngineSupervisor(named, { name: 'named', log }) },
    ...{ threads: 2, artifacts, bootId: '', log },
  });
  await slot.acquire();
  const own = { ask: <T>(question: (client: EngineApi) => Promise<T>) => question(ours.client), stop: () => Promise.resolve() };
  const pool = new EnginePool([slot], own);
  pools.push(pool);
  await pool.question((client) => client.inspectModel('/model', { skipWeights: true }));
  expect([users.asked.includes('inspectModel'), ours.asked]).toEqual([false, ['inspectModel']]);
  const local = poolOf([ours, 'cpu']).slots[0]!;
  pool.add(local);
  await pool.question((client) => client.inspectModel('/model', { skipWeights: true }));
  expect([local.status, ours.asked.filter((method) => method === 'inspectModel').length]).toEqual(['idle', 2]);
});

describe('where more engines can be asked for', () => {
  /** A source of engines that has asked for a job of a cluster. */
  const source = (said: string): EngineSource & { wanted: number[] } => ({
    ...{ most: 4, wanted: [] },
    wants(runs, needsAny) {
      this.wanted.push(runs.length + Number(needsAny));
    },
    words: () => said,
    barred: () => new Set(),
    planMemory: () => new ScriptedEngine().client.planMemory(engineV1.SessionOptions.fromPartial({})),
  });

  test('the runs that no engine can take are told to the source, and wait for what it says', async () => {
    const pool = poolOf([new ScriptedEngine(), 'cpu']);
    const more = source('job 7 waits (Resources)');
    pool.bringsMore(more);
    const second = { ...run, runId: 'another' };
    expect((await pool.place([run, second], [])).waits).toEqual([{ runId: 'another', why: 'job 7 waits (Resources)' }]);
    await pool.letGoAll();
    expect(more.wanted).toEqual([1, 0]); // another orchestrator drives the runs now
  });

  test('a run that must not have the engines that are here waits for one that it may have', async () => {
    const pool = poolOf([new ScriptedEngine(), 'cpu']);
    const second = { ...run, runId: 'another' };
    pool.bringsMore({ ...source('its account has no engine'), barred: ({ runId }) => new Set(runId === 'another' ? ['local-1'] : []) });
    expect((await pool.place([second], [])).waits).toEqual([{ runId: 'another', why: 'its account has no engine' }]);
    expect((await pool.place([second, run], [])).runs).toMatchObject([{ runId: run.runId, slot: 'local-1' }]);
  });

  test('a launch that has no room on the engines that are here is planned for one that may come', async () => {
    const [small, large] = [new ScriptedEngine(), new ScriptedEngine()];
    small.availableBytes = 1n;
    large.availableBytes = 20_000n;
    const pool = poolOf([small, 'cpu']);
    pool.bringsMore({ ...source(''), planMemory: () => large.client.planMemory(engineV1.SessionOptions.fromPartial({})) });
    expect(await pool.forNewRun(run)).toMatchObject({ engine: '', memory: { availableBytes: 20_000n } });
    large.availableBytes = 1n;
    expect(await pool.forNewRun(run)).toMatchObject({ engine: 'local-1', memory: { availableBytes: 1n } });
  });

  test('a job that no engine is here for leads to one engine, and one that waits at an engine to none', async () => {
    const pool = new EnginePool([]);
    const more = source('');
    pool.bringsMore(more);
    const job = { id: 1, runId: 'x', needsOurFiles: false, slot: null };
    await pool.place([], [job, { ...job, id: 2 }]);
    await pool.place([], [{ ...job, slot: 'local-1' }]);
    expect(more.wanted).toEqual([1, 0]);
  });

  test('a study launches as many runs as there may be engines', async () => {
    const pool = new EnginePool([]);
    pool.bringsMore(source(''));
    expect([pool.most, pool.canWork]).toEqual([4, true]);
    expect((await pool.forNewRun(run)).engine).toBe('');
  });
});

test('engines are asked about runs whose turn is later only while a free engine suits none of the earlier ones', async () => {
  const [engine, other] = [new ScriptedEngine(), new ScriptedEngine()];
  const pool = poolOf([engine, 'cpu'], [other, 'cuda:0']);
  const runOf = (seed: number, fingerprint: string | null): typeof run => ({
    ...new Story(launched({ loraRank: seed + 1 }, `run${seed}`)).state,
    numericsFingerprint: fingerprint,
  });
  const many = Array.from({ length: 40 }, (_, index) => runOf(index, null));
  const placed = await pool.place(many, []);
  expect(placed.runs.map(({ runId }) => runId)).toEqual(['run0', 'run1']);
  expect(planned(engine)).toBeLessThan(many.length / 2);
  const refused = new Map([['local-2', 'it could not read the model']]);
  const late = await pool.place(many, [], (runId) => (runId === 'run39' ? new Map() : refused));
  expect(late.runs.map(({ runId, slot }) => [runId, slot])).toEqual([
    ['run0', 'local-1'],
    ['run39', 'local-2'],
  ]);
});

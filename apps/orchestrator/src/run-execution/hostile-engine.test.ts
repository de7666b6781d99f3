// A hostile engine beside a good one. It joins by a token of its own and alters each of its answers in turn. Whatever it answers, the run
// ends as it does on the good engine alone, and nothing false that a state contradicts is recorded.
import { setTimeout as sleep } from 'node:timers/promises';
import { EspalierError, type engineV1 } from '#protocol';
import { EnginePool } from '../engine-pool/engine-pool.js';
import { EngineSlot } from '../engine-pool/engine-slot.js';
import { EngineSupervisor } from '../engines/engine-supervisor.js';
import { ALL_OPEN, scriptedState, ScriptedConnector, ScriptedEngine } from '../engines/testing.js';
import type { EngineApi, TrainingProgress } from '../engines/wire/engine-client.js';
import { launched } from '../pruning-run/testing.js';
import type { RunDriver } from './run-driver.js';
import { driverOf, World } from './testing.js';

const RUN = 'aaaaaaaaaaaa';
const settings = { totalSteps: 20, warmupSteps: 20, segmentSteps: 10, targetSparsity: 0.005, recipe: 'distill' } as const;
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined } as never;
const FAST = { healthIntervalMs: 1, intervalAfterMissMs: 1, healthTimeoutMs: 1_000, firstDelayMs: 1 };

let world: World;
let hostile: ScriptedEngine;
let good: ScriptedEngine;
let pool: EnginePool;
let driver: RunDriver;

/** An engine of this installation, which says of a stored state what follows from its gates. */
const own = {
  ask: <T>(question: (client: EngineApi) => Promise<T>): Promise<T> =>
    question({
      ...good.client,
      describeState: ({ stateFile }) => {
        const digest = stateFile.slice('/states/'.length);
        const state = hostile.states.get(digest) ?? good.states.get(digest);
        return Promise.resolve({ state });
      },
    }),
  stop: () => Promise.resolve(),
};

beforeEach(() => {
  world = new World();
  Object.assign(world.artifacts, { fileOf: (digest: string) => `/states/${digest}` });
  [hostile, good] = [new ScriptedEngine(), new ScriptedEngine()];
  const slots = { hostile, good };
  const made = Object.entries(slots).map(([name, engine]) => {
    const connector = new ScriptedConnector([engine], true);
    const supervisor = new EngineSupervisor(connector, { name, log: quiet, pace: FAST });
    return new EngineSlot({ name, connector, supervisor, threads: 2, artifacts: world.artifacts, bootId: '', log: quiet });
  });
  pool = new EnginePool(made, own);
  const lease = { held: true, start: () => Promise.resolve(), onChange: () => undefined };
  driver = driverOf(world, pool, lease);
  let waited = 0; // the recorded delays are kept, but on a clock that runs ahead by each of them
  driver.clock = {
    now: () => Date.now() + waited,
    wakeAfter: (ms, wake) => {
      waited += ms;
      return setTimeout(wake, 1);
    },
  };
});
afterEach(() => driver.stop());

const has = (type: string): boolean => world.recorded(RUN).includes(type);

/** Runs to the end with both engines there. The hostile one gets the run first. */
async function ended(): Promise<void> {
  pool.claimAll();
  for (const { supervisor } of pool.slots) while (supervisor.live === null) await sleep(1);
  await world.given(RUN, [launched(settings, RUN)]);
  await driver.start();
  while (!['RunCompleted', 'RunFailed', 'RunPaused'].some(has)) await sleep(1);
}

const changes: [what: string, alter: (outcome: engineV1.SegmentOutcome) => void][] = [
  ['the digest of the masks', ({ state }) => (state!.masksDigest = 'f'.repeat(64))],
  ['the sparsity', ({ state }) => (state!.hardSparsity = 0.99)],
  ['the expected sparsity', ({ state }) => (state!.expectedSparsity = 0.99)],
  ['the open heads', ({ state }) => (state!.open[0]!.heads = 1n)],
  ['the open units', ({ state }) => (state!.open[0]!.intermediate = 1n)],
  ['the open hidden units', ({ state }) => (state!.hiddenOpen = 1n)],
  ['the count of parameters', ({ state }) => (state!.size!.parameterCount = 1n)],
  ['the expected sparsity, which is no number', ({ state }) => (state!.expectedSparsity = NaN)],
  ['the multiplications of an export', ({ state }) => (state!.size!.multiplications = 1n)],
  ['the bytes of an export', ({ state }) => (state!.size!.bytes = 1n)],
  ['the gates', ({ state }) => (state!.openUnits = Buffer.alloc(ALL_OPEN.length))],
];

test.each(changes)(
  'an engine that alters %s is set aside, nothing of it is recorded, and the run ends on the good one',
  async (_, alter) => {
    hostile.alterOutcome = alter;
    await ended();
    expect(world.last(RUN, 'EngineLost')).toMatchObject({ code: 'RESULT_CONTRADICTS_STATE' });
    expect(world.last(RUN, 'RunCompleted')).toMatchObject({ stateDigest: scriptedState(20) });
    expect(world.recorded(RUN).filter((type) => type === 'MasksUpdated')).toHaveLength(2);
    expect(world.last(RUN, 'EngineAttached')).toMatchObject({ engineName: 'good' });
    expect(pool.slot('hostile')!.view()).toMatchObject({
      state: 'down',
      problem: expect.stringMatching(/^is set aside: the engine reported/) as string,
    });
  },
);

const trainings: [what: string, train: () => AsyncGenerator<TrainingProgress>][] = [
  [
    'ends',
    async function* () {
      await sleep(1);
      yield { kind: 'end', end: { stopped: false, teacherDigests: [] } };
    },
  ],
  [
    'says that it was stopped',
    async function* () {
      await sleep(1);
      yield { kind: 'end', end: { stopped: true, teacherDigests: ['f'.repeat(64)] } };
    },
  ],
];

test.each(trainings)(
  'an engine that %s before its first step gets the run no further, and the run ends on the good one',
  async (_, train) => {
    hostile.client.train = train;
    await ended();
    expect(world.last(RUN, 'EngineLost')).toMatchObject({ code: 'ENGINE_FAILED' });
    expect(world.last(RUN, 'RunCompleted')).toMatchObject({ stateDigest: scriptedState(20) });
  },
);

const refusals: (keyof EngineApi)[] = ['openSession', 'loadTrainingTokens', 'initialiseState', 'evaluate'];
const words = ['MODEL_UNSUPPORTED', 'STATE_CORRUPT', 'EVALUATION_NOT_FINITE', 'ENGINE_SILENT', 'ENGINE_FAILED'];

test.each(refusals.flatMap((method) => words.map((code) => [method, code] as const)))(
  'an engine that answers %s with %s neither fails nor pauses the run',
  async (method, code) => {
    // It answers so whenever it is asked.
    const refuse = (): Promise<never> => Promise.reject(new EspalierError(code, 'so it says'));
    Object.assign(hostile.client, { [method]: refuse });
    await ended();
    expect(world.last(RUN, 'RunCompleted')).toMatchObject({ stateDigest: scriptedState(20), evaluationError: null });
    expect(['RunFailed', 'RunPaused'].some(has)).toBe(false);
  },
);

test('an engine that says of each step that the training diverged does not fail the run', async () => {
  hostile.beforeStep = () => {
    throw new EspalierError('TRAINING_DIVERGED', 'so it says');
  };
  await ended();
  expect(world.last(RUN, 'RunCompleted')).toMatchObject({ stateDigest: scriptedState(20) });
});

test('an engine that claims numerics of its own and then fails does not bind the run to them', async () => {
  hostile.fingerprint = 'no other engine has these';
  hostile.beforeStep = () => {
    throw new EspalierError('ENGINE_FAILED', 'so it says');
  };
  await ended();
  expect(world.last(RUN, 'RunCompleted')).toMatchObject({ stateDigest: scriptedState(20) });
});

test('an engine that never answers a question costs seconds, and gets no work until it has answered', async () => {
  let answer: () => void = () => undefined;
  const { planMemory } = hostile.client;
  Object.assign(hostile.client, {
    planMemory: (options: engineV1.SessionOptions) => new Promise((resolve) => (answer = () => resolve(planMemory(options)))),
  });
  await ended();
  expect(world.last(RUN, 'EngineAttached')).toMatchObject({ engineName: 'good' });
  expect(pool.slot('hostile')!.view()).toMatchObject({ state: 'down', problem: 'leaves a question without an answer' });
  answer();
  await sleep(1);
  expect(pool.slot('hostile')!.view().state).toBe('free');
});

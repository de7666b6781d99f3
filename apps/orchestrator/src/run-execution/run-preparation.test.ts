// Tests what ends a preparation and what it waits for. The model and the text are read by a script.
import { EspalierError } from '#protocol';
import { data, launched, model } from '../pruning-run/testing.js';
import { RunPreparation } from './run-preparation.js';
import { World } from './testing.js';

const RUN = 'aaaabbbbcccc';
const MINUTE_MS = 60_000;
const quiet = { warn: () => undefined, error: () => undefined } as never;
const noEngine = (): Promise<never> => Promise.reject(new EspalierError('ENGINE_UNAVAILABLE', 'engine far was cut off'));
const prepared = (): Promise<object> => Promise.resolve({ model, data });

let world: World;
let stopping: AbortController;
let preparation: RunPreparation;
let read: () => Promise<object>;
const pool = { isForsaken: false };

/** A run that is launched, whose model and text are to be read. */
async function launch(): Promise<void> {
  const run = launched({}, RUN);
  Object.assign(run.data, { model: { ...model, weightsDigest: '' }, data: { ...data, trainDigest: '' } });
  await world.given(RUN, [run]);
  const lease = { held: true, onChange: () => undefined } as never;
  const sources = { prepare: () => read() } as never;
  preparation = new RunPreparation(world.feed as never, world.runs, sources, lease, pool, world.live, quiet);
  preparation.start(stopping.signal);
}

beforeEach(() => {
  jest.useFakeTimers();
  world = new World();
  stopping = new AbortController();
});
afterEach(async () => {
  stopping.abort();
  await preparation.stopped();
  jest.useRealTimers();
});

test('a run whose only engine is away waits for it for as long as it takes, and says so', async () => {
  pool.isForsaken = true;
  read = noEngine;
  await launch();
  await jest.advanceTimersByTimeAsync(10 * MINUTE_MS);
  expect(world.recorded(RUN)).toEqual(['RunLaunched']);
  expect(world.live.waitOf(RUN)).toMatchObject({ code: 'ENGINE_UNAVAILABLE' });
  read = prepared;
  pool.isForsaken = false;
  await jest.advanceTimersByTimeAsync(1_000);
  expect(world.recorded(RUN)).toEqual(['RunLaunched', 'RunPrepared']);
  expect(world.live.waitOf(RUN)).toBeNull();
});

test('a run that an engine fails to read again and again is paused, and time without an engine does not count', async () => {
  pool.isForsaken = true;
  read = noEngine;
  await launch();
  await jest.advanceTimersByTimeAsync(MINUTE_MS);
  let tries = 0;
  read = () => {
    tries += 1;
    return Promise.reject(new EspalierError('ENGINE_LOST', 'killed by SIGKILL'));
  };
  pool.isForsaken = false;
  await jest.advanceTimersByTimeAsync(10 * MINUTE_MS);
  expect(tries).toBe(8);
  expect(world.last(RUN, 'RunPaused')).toMatchObject({ by: 'obstacle', cause: { code: 'ENGINE_LOST' } });
});

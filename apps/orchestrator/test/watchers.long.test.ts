// Tests many clients that follow one run over the network, one of them slow. It takes some seconds, since it trains a small run.
import { TestServer } from './harness/server.js';
import { allSteps, Watchers } from './harness/watchers.js';

const WATCHERS = 200;
const STEPS = 200;
const SLOW_PAUSE_MS = 200;
/** A server at rest has 50 to 60 MB on its heap. With this limit it dies when it needs more, and then no run and no watcher would go on. */
const HEAP_MB = 112;

it('200 watchers, one of them slow, get every step of a run once and in order, from a server with little memory', async () => {
  const server = TestServer.inNewFolder({ NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}` });
  await server.start();
  const watchers = new Watchers(server);
  try {
    const { runId } = await server.launch({ totalSteps: STEPS, warmupSteps: STEPS / 2 });
    const watching = Array.from({ length: WATCHERS }, (_, index) => watchers.follow(index, runId, index === 0 ? SLOW_PAUSE_MS : 0));
    for (const steps of await Promise.all(watching)) expect(steps).toEqual(allSteps(STEPS));
  } finally {
    watchers.close();
    await server.dispose();
  }
});

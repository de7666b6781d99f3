// Tests many clients that follow one run over the network, one of them slow. It takes some seconds, since it trains a small run.
import { setTimeout as sleep } from 'node:timers/promises';
import { ChannelCredentials } from '@grpc/grpc-js';
import { bearerToken, v1 } from '#protocol';
import { TestServer } from './harness/server.js';

const WATCHERS = 200;
const CONNECTIONS = 10;
const STEPS = 200;
const SLOW_PAUSE_MS = 200;
/** A server at rest has 50 to 60 MB on its heap. With this limit it dies when it needs more, and then no run and no watcher would go on. */
const HEAP_MB = 112;

it('200 watchers, one of them slow, get every step of a run once and in order, from a server with little memory', async () => {
  const server = TestServer.inNewFolder({ NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}` });
  await server.start();
  const clients = Array.from(
    { length: CONNECTIONS },
    () =>
      new v1.RunServiceClient(server.listenAddress, ChannelCredentials.createInsecure(), {
        ...bearerToken(server.token),
        'grpc.use_local_subchannel_pool': 1,
      }),
  );
  try {
    const { runId } = await server.launch({ totalSteps: STEPS, warmupSteps: STEPS / 2 });
    const watching = Array.from({ length: WATCHERS }, (_, index) =>
      stepsSeen(clients[index % CONNECTIONS]!, runId, index === 0 ? SLOW_PAUSE_MS : 0),
    );
    const seen = await Promise.all(watching);
    const all = Array.from({ length: STEPS }, (_, step) => step);
    for (const steps of seen) expect(steps).toEqual(all);
  } finally {
    for (const client of clients) client.close();
    await server.dispose();
  }
});

async function stepsSeen(client: v1.RunServiceClient, runId: string, pauseMs: number): Promise<number[]> {
  const call = client.watchRun(v1.WatchRunRequest.fromPartial({ runId, afterRevision: 0n }));
  const steps: number[] = [];
  for await (const message of call as AsyncIterable<v1.WatchRunResponse>) {
    steps.push(...message.steps.map(({ step }) => Number(step)));
    if (pauseMs > 0) await sleep(pauseMs);
  }
  return steps;
}

// Measures a server with many runs in its data folder (npm run scale), many engines, runs that wait, and clients that watch:
//   npm run scale-measure -- FOLDER [--engines 8] [--queued 50] [--watchers 200]
// Small runs train one after the other on the engines. All have equal settings, so that all must end in equal bits. Prints JSON.
import { readFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { ChannelCredentials } from '@grpc/grpc-js';
import { bearerToken, v1 } from '#protocol';
import { isOver, TestServer, unary } from '../harness/server.js';

const CONNECTIONS = 10;
const ASKED_EVERY_MS = 100;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    engines: { type: 'string', default: '8' },
    queued: { type: 'string', default: '50' },
    watchers: { type: 'string', default: '200' },
  },
});
const [folder] = positionals;
if (folder === undefined) throw new Error('name the folder to measure: npm run scale-measure -- FOLDER');
const [engines, queued, watchers] = [Number(values.engines), Number(values.queued), Number(values.watchers)];

const sorted = (times: number[]): number[] => [...times].sort((a, b) => a - b);
const inWords = (times: number[]): object => {
  const all = sorted(times);
  const at = (share: number): number => Math.round(all[Math.min(all.length - 1, Math.floor(all.length * share))]! * 10) / 10;
  return { asked: all.length, median_ms: at(0.5), p95_ms: at(0.95), longest_ms: at(1) };
};
const residentMb = (pid: number): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1_000;

async function timed(work: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

/** @returns how many steps the watcher saw, and whether any was missing or out of order */
async function watch(client: v1.RunServiceClient, runId: string): Promise<{ steps: number; inOrder: boolean }> {
  const call = client.watchRun(v1.WatchRunRequest.fromPartial({ runId, afterRevision: 0n }));
  const seen = { steps: 0, inOrder: true };
  for await (const message of call as AsyncIterable<v1.WatchRunResponse>) {
    for (const { step } of message.steps) {
      seen.inOrder &&= Number(step) === seen.steps;
      seen.steps += 1;
    }
  }
  return seen;
}

const server = new TestServer(resolve(folder));
server.options = ['--engines', String(engines)];
const started = await timed(() => server.start());
const clients = Array.from(
  { length: CONNECTIONS },
  () =>
    new v1.RunServiceClient(server.listenAddress, ChannelCredentials.createInsecure(), {
      ...bearerToken(server.token),
      'grpc.use_local_subchannel_pool': 1,
    }),
);
try {
  const list = (): Promise<v1.ListRunsResponse> =>
    unary((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({ pageSize: 50 }), done));
  const listed = [];
  for (let count = 0; count < 50; count += 1) listed.push(await timed(list));

  const runIds: string[] = [];
  const launched: number[] = [];
  const from = performance.now();
  for (let run = 0; run < queued; run += 1) launched.push(await timed(async () => runIds.push((await server.launch({})).runId)));
  const watching = Array.from({ length: watchers }, (_, index) => watch(clients[index % CONNECTIONS]!, runIds[index % queued]!));
  const ended = Promise.all(runIds.map((runId) => server.completed(runId, Infinity, 1_000)));
  let isEnded = false;
  void ended.finally(() => (isEnded = true));
  const asked: number[] = [];
  let largestMb = 0;
  while (!isEnded) {
    asked.push(await timed(list));
    largestMb = Math.max(largestMb, residentMb(server.pid));
    await sleep(ASKED_EVERY_MS);
  }
  const runs = await ended;
  const seconds = (performance.now() - from) / 1_000;
  const seen = await Promise.all(watching);
  const steps = Number(runs[0]!.step);
  const result = {
    processors: cpus().length,
    load: loadavg()[0],
    start_ms: Math.round(started),
    list_at_rest: inWords(listed),
    launch: inWords(launched),
    list_under_load: inWords(asked),
    server_mb: Math.round(largestMb),
    runs: runs.filter(isOver).length,
    seconds: Math.round(seconds),
    different_ends: new Set(runs.map(({ stateDigest }) => stateDigest)).size,
    watchers: seen.length,
    watchers_with_all_steps_in_order: seen.filter(({ steps: got, inOrder }) => inOrder && got === steps).length,
  };
  console.log(JSON.stringify(result, null, 2));
} finally {
  for (const client of clients) client.close();
  await server.stop();
}

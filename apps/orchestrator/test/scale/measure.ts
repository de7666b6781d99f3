// Measures a server with many runs in its data folder (npm run scale), many engines, runs that wait, and clients that watch:
//   npm run scale-measure -- FOLDER [--engines 8] [--queued 50] [--watchers 200]
// Small runs train one after the other on the engines. All have equal settings, so that all must end in equal bits. Prints JSON.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { v1 } from '#protocol';
import { isIdle, JoiningEngine, listedUntil, tokenIn } from '../harness/joining-engine.js';
import { isOver, TestServer, unary } from '../harness/server.js';
import { allSteps, Watchers } from '../harness/watchers.js';
import { inWords, processorSeconds } from './figures.js';

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
const [engines, queued, watcherCount] = [Number(values.engines), Number(values.queued), Number(values.watchers)];

const residentMb = (pid: number): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1_000;

async function timed(work: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

/** The bytes of a file, with what SQLite keeps beside it; those of a folder's files. */
function megabytes(path: string): number {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory())
    return readdirSync(path).reduce((sum, name) => sum + megabytes(join(path, name)), 0);
  const files = [path, `${path}-wal`].map((file) => statSync(file, { throwIfNoEntry: false })?.size ?? 0);
  return Math.round((files[0]! + (path.endsWith('-wal') ? 0 : files[1]!)) / 1e6);
}

/** From the first watcher of a run that has a step to each other that has it. */
class Spread {
  readonly times: number[] = [];
  private readonly first = new Map<string, number>();

  note(runId: string, step: number): void {
    const key = `${runId} ${step}`;
    const now = performance.now();
    const first = this.first.get(key);
    if (first === undefined) this.first.set(key, now);
    else this.times.push(now - first);
  }
}

const server = new TestServer(resolve(folder));
/** A server takes no more engines of its own than its machine has processors; the others dial in. */
const own = Math.min(engines, cpus().length);
server.options = ['--engines', String(own)];
const started = await timed(() => server.start());
const atRestMb = residentMb(server.pid);
const tokens = mkdtempSync(join(tmpdir(), 'espalier-scale-'));
const watchers = new Watchers(server);
try {
  if (engines > own) {
    const token = await tokenIn(join(tokens, 'token'), server.access, v1.Role.ROLE_ENGINE, `scale-${Date.now()}`);
    const names = Array.from({ length: engines - own }, (_, index) => `joined-${index}`);
    for (const name of names) new JoiningEngine(['--join', server.listenAddress, '--token-file', token, '--name', name]);
    await listedUntil(server, (all) => names.every((name) => isIdle(name)(all)));
  }
  const list = (): Promise<v1.ListRunsResponse> =>
    unary((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({ pageSize: 50 }), done));
  const listed = [];
  for (let count = 0; count < 50; count += 1) listed.push(await timed(list));

  const runIds: string[] = [];
  const launched: number[] = [];
  const parts = (): number[] => [server.pid, server.pidOf('store')!].map(processorSeconds);
  const [from, used] = [performance.now(), parts()];
  for (let run = 0; run < queued; run += 1) launched.push(await timed(async () => runIds.push((await server.launch({})).runId)));
  const spread = new Spread();
  const watching = Array.from({ length: watcherCount }, (_, index) => {
    const runId = runIds[index % queued]!;
    return watchers.follow(index, runId, 0, (step) => spread.note(runId, step));
  });
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
  const runsUsed = parts().map((now, index) => Math.round((now - used[index]!) * 10) / 10);
  const seen = await Promise.all(watching);
  const steps = Number(runs[0]!.step);
  const result = {
    processors: cpus().length,
    load: loadavg()[0],
    start_ms: Math.round(started),
    at_rest_mb: Math.round(atRestMb),
    events_mb: megabytes(join(resolve(folder), 'event-store')),
    views_mb: megabytes(join(resolve(folder), 'views.sqlite')),
    list_at_rest: inWords(listed),
    launch: inWords(launched),
    list_under_load: inWords(asked),
    server_mb: Math.round(largestMb),
    runs: runs.filter(isOver).length,
    seconds: Math.round(seconds),
    processor_seconds: { server_at_rest: used[0], store_at_rest: used[1], server: runsUsed[0], store: runsUsed[1] },
    different_ends: new Set(runs.map(({ stateDigest }) => stateDigest)).size,
    watchers: seen.length,
    watchers_with_all_steps_in_order: seen.filter((got) => JSON.stringify(got) === JSON.stringify(allSteps(steps))).length,
    between_watchers_of_a_step: inWords(spread.times),
  };
  console.log(JSON.stringify(result, null, 2));
} finally {
  watchers.close();
  await JoiningEngine.endAll();
  await server.stop();
  rmSync(tokens, { recursive: true, force: true });
}

// Measures the scheduler, the lease, the feed and the views with simulated engines in one process, on a folder with many runs
// (npm run scale). No engine trains: each waits for the time of a step and reports a state, as a script says.
//   npm run scale-simulate -- FOLDER [--engines 1000] [--waiting 1000] [--callers 30] [--step-seconds 2] [--steps 600] [--fill-seconds 300]
//     [--seconds 120]
// A run has between a tenth of --steps and all of them. The pattern is that of a lab on a Monday: callers launch until every engine has
// a run and as many as --waiting says wait, or --fill-seconds are over. Then a launch comes for each run that ends. Prints JSON.
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { sha256Hex } from '#audit';
import { engineV1, v1 } from '#protocol';
import { connectEventStore, startEmbeddedEventStore } from '#event-store';
import type { ArtifactStore } from '#artifact-store';
import { EngineJobs } from '../../src/engine-pool/engine-jobs.js';
import { EnginePool } from '../../src/engine-pool/engine-pool.js';
import { EngineSlot } from '../../src/engine-pool/engine-slot.js';
import { EngineSupervisor } from '../../src/engines/engine-supervisor.js';
import { ScriptedConnector, ScriptedEngine } from '../../src/engines/testing.js';
import { RunFeed } from '../../src/feed/run-feed.js';
import { CallerHours } from '../../src/hours/caller-hours.js';
import { LiveProgress } from '../../src/live/live-progress.js';
import { Tallies } from '../../src/monitoring/tallies.js';
import { RunRepository } from '../../src/pruning-run/run-repository.js';
import type { NewFact } from '../../src/pruning-run/record/pruning-run.events.js';
import { launched } from '../../src/pruning-run/testing.js';
import { SegmentRecorder } from '../../src/run-execution/recording/segment-recorder.js';
import { RunDriver } from '../../src/run-execution/run-driver.js';
import { DriverLease } from '../../src/storage/driver-lease.js';
import { RunViews } from '../../src/views/run-views.js';
import { Random } from '../chaos/random.js';
import { inWords, processorSeconds } from './figures.js';

const LETTERS = 'abcdefghijklmnopqrstuvwxyz234567';
const LIST_EVERY_MS = 1_000;
const LEASE_MS = 30_000;
/** Engines report and segments end as those of a 7B model do: a segment takes about 15 seconds. */
const SEGMENT_SECONDS = 15;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    engines: { type: 'string', default: '1000' },
    waiting: { type: 'string', default: '1000' },
    callers: { type: 'string', default: '30' },
    'step-seconds': { type: 'string', default: '2' },
    steps: { type: 'string', default: '600' },
    'fill-seconds': { type: 'string', default: '300' },
    seconds: { type: 'string', default: '120' },
  },
});
const [folder] = positionals;
if (folder === undefined) throw new Error('name the folder to use: npm run scale-simulate -- FOLDER');
const [engines, waiting, callers] = [Number(values.engines), Number(values.waiting), Number(values.callers)];
const [stepSeconds, steps, seconds] = [Number(values['step-seconds']), Number(values.steps), Number(values.seconds)];
const segmentSteps = Math.max(1, Math.round(SEGMENT_SECONDS / stepSeconds));

const log = { info: () => undefined, warn: console.error, error: console.error, debug: () => undefined } as never;
const timed = async <T>(work: () => Promise<T>): Promise<{ ms: number; value: T }> => {
  const from = performance.now();
  const value = await work();
  return { ms: performance.now() - from, value };
};
const random = new Random(Date.now());
const idOf = (): string => Array.from({ length: 12 }, () => LETTERS[Math.floor(random.next() * LETTERS.length)]!).join('');
const enginesAtWork = (): number => pool.slots.filter(({ isTaken }) => isTaken).length;
const untilTrue = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await sleep(50);
};

/** The states that engines have reported, by their digests: the server's own engine describes them. */
const states = new Map<string, engineV1.StateSummary>();
const artifacts = {
  put: (_bytes: unknown, { expectedDigest = '' } = {}) => Promise.resolve({ digest: expectedDigest, bytes: 8 }),
  get: () => Promise.resolve(new Uint8Array()),
  open: async function* (digest: string) {
    await Promise.resolve();
    yield Buffer.from(digest);
  },
  verify: () => Promise.resolve('ok'),
  fileOf: (digest: string) => digest,
  incoming: { newPath: () => undefined, end: () => Promise.resolve() },
} as unknown as ArtifactStore;
const own = {
  ask: <T>(question: (client: never) => Promise<T>): Promise<T> =>
    question({
      describeState: ({ stateFile }: { stateFile: string }) =>
        Promise.resolve(engineV1.DescribeStateResponse.fromPartial({ state: states.get(stateFile)! })),
    } as never),
  stop: () => Promise.resolve(),
};

function slotOf(index: number): EngineSlot {
  const engine = new ScriptedEngine();
  engine.bootId = `machine ${index}`;
  engine.beforeStep = () => sleep(stepSeconds * 1_000 * (0.9 + 0.2 * random.next()));
  // The script gives all runs the same states. Runs of other lengths have other ones.
  engine.alterOutcome = ({ state }) => {
    state!.digest = sha256Hex(`${state!.digest} ${state!.expectedSparsity}`);
    states.set(state!.digest, structuredClone(state!));
  };
  const [name, connector] = [`joined-${index}`, new ScriptedConnector([engine], true)];
  const supervisor = new EngineSupervisor(connector, { name, log });
  return new EngineSlot({ name, connector, supervisor, threads: 2, artifacts, bootId: 'this machine', log });
}

const eventStore = await startEmbeddedEventStore({ folder: join(resolve(folder), 'event-store') });
const store = connectEventStore(eventStore);
const [runs, live, jobs] = [new RunRepository(store, new Tallies()), new LiveProgress(), new EngineJobs()] as const;
const views = new RunViews({ store, folder: resolve(folder), live });
const feed = new RunFeed(store, runs, views, log);
const hours = new CallerHours(feed, views, null, log);
const pool = new EnginePool(
  Array.from({ length: engines }, (_, index) => slotOf(index)),
  own,
);
const lease = new DriverLease({ store, folderId: 'simulated', leaseMs: LEASE_MS, log, ownsStore: false });
const keeper = {
  ...{ start: () => undefined, stop: () => undefined, sweep: () => Promise.resolve(), recallForUnfinished: () => Promise.resolve() },
  ...{ pin: () => Promise.resolve(), release: () => undefined, releaseAfter: () => undefined },
} as never;
const preparation = { start: () => undefined, stopped: () => Promise.resolve() } as never;
const modelAndData = { remakeTokens: () => Promise.resolve() } as never;
const recorder = new SegmentRecorder(artifacts, store, runs, keeper, live, new Tallies(), log);
const driver = new RunDriver(
  ...([feed, runs, modelAndData, pool, recorder, keeper, jobs, live, lease, preparation, artifacts, hours] as const),
  { recordIntervalMs: 1_000 },
  log,
);

const [ended, starts, appends, launches] = [new Set<string>(), new Map<string, number>(), [] as number[], new Map<string, number>()];
let events = 0;
feed.onChange((run) => {
  events += 1;
  if (run.attempt === 1 && !starts.has(run.runId) && launches.has(run.runId)) starts.set(run.runId, performance.now());
  if (run.status === 'completed') ended.add(run.runId);
});
async function launch(): Promise<void> {
  const runId = idOf();
  const totalSteps = Math.round(steps * (0.1 + 0.9 * random.next()));
  const { data } = launched({ totalSteps, segmentSteps, targetSparsity: 0.5 }, runId) as Extract<NewFact, { type: 'RunLaunched' }>;
  const by = { actor: `login:lab:${Math.floor(random.next() * callers)}`, roles: ['operator'] };
  launches.set(runId, performance.now());
  appends.push((await timed(() => runs.change(runId, { kind: 'launch', ...data }, { by }))).ms);
}

const startMs: Record<string, number> = {};
views.start();
startMs['views'] = (await timed(() => views.unfinished())).ms;
startMs['driver'] = (await timed(() => driver.start())).ms;
startMs['needs_of_artifacts'] = (await timed(() => feed.settle())).ms;
const startProcessor = [process.pid, eventStore.pid].map(processorSeconds);

const delay = monitorEventLoopDelay({ resolution: 10 });
console.error(JSON.stringify({ startMs, startProcessor }));
const filled = await timed(async () => {
  const until = performance.now() + Number(values['fill-seconds']) * 1_000;
  for (let count = 0; count < engines + waiting && performance.now() < until; count += 1) await launch();
  await untilTrue(() => performance.now() >= until || enginesAtWork() === engines);
});
const [filledLaunches, filledEngines] = [launches.size, enginesAtWork()];
const filledProcessor = [process.pid, eventStore.pid].map(processorSeconds);
const [firstEvents, firstEnded, from] = [events, ended.size, performance.now()];
delay.enable();
const lists: number[] = [];
let relaunched = ended.size;
while (performance.now() - from < seconds * 1_000) {
  for (; relaunched < ended.size; relaunched += 1) await launch();
  lists.push((await timed(() => views.listRuns(v1.ListRunsRequest.fromPartial({ pageSize: 50 })))).ms);
  await sleep(LIST_EVERY_MS);
}
delay.disable();
const spent = (performance.now() - from) / 1_000;
const processor = [process.pid, eventStore.pid].map((pid, index) => (processorSeconds(pid) - filledProcessor[index]!) / spent);
const waits = [...starts].map(([runId, at]) => at - launches.get(runId)!).filter((ms) => ms >= 0);
const round = (value: number): number => Math.round(value * 100) / 100;
console.log(
  JSON.stringify(
    {
      processors: cpus().length,
      load: loadavg().map(round),
      runs: (await views.listRuns(v1.ListRunsRequest.fromPartial({ pageSize: 1 }))).total,
      start_ms: Object.fromEntries(Object.entries(startMs).map(([name, ms]) => [name, Math.round(ms)])),
      start_processor_seconds: { server: startProcessor[0], store: startProcessor[1] },
      fill: {
        launches: filledLaunches,
        engines_at_work: filledEngines,
        seconds: round(filled.ms / 1_000),
        processor_seconds: {
          server: round(filledProcessor[0]! - startProcessor[0]!),
          store: round(filledProcessor[1]! - startProcessor[1]!),
        },
      },
      steady: {
        seconds: Math.round(spent),
        runs_ended: ended.size - firstEnded,
        events_a_second: round((events - firstEvents) / spent),
        processors: { server: round(processor[0]!), store: round(processor[1]!) },
        event_loop_delay_ms: {
          median: round(delay.percentile(50) / 1e6),
          p95: round(delay.percentile(95) / 1e6),
          longest: round(delay.max / 1e6),
        },
        list: inWords(lists),
      },
      launch_recorded: inWords(appends),
      launch_to_attempt: inWords(waits),
      memory_mb: Math.round(process.memoryUsage().rss / 1e6),
    },
    null,
    2,
  ),
);
process.exit(0); // the folder stays as it is: its runs are closed as those of a server that died

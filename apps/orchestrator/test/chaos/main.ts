// npm run chaos -- [--rounds N] [--seed N] [--factbook] [--engines N]
//
// Trains runs on the real processes. At random moments it kills the engine, the orchestrator, the event store or all of them, stops one of
// them for a while, or damages a state. After each round it checks that no event that was seen before is lost, changed or stored twice, and
// that the digest chain is whole. Of each run it checks that the final state equals that of the undisturbed run, and that the views equal a
// rebuild. With several engines as many runs train side by side, and each must end as it did alone.
import { parseArgs } from 'node:util';
import { v1 } from '#protocol';
import { collect, FACTBOOK_MODEL, TestServer } from '../harness/server.js';
import { comparable, recordProblems } from '../harness/record-checks.js';
import { disturbances, type Disturbance } from './disturbances.js';
import { Random } from './random.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 1e6) },
    factbook: { type: 'boolean', default: false },
    engines: { type: 'string', default: '1' },
  },
});
const rounds = Number(values.rounds);
const engines = Number(values.engines);
const random = new Random(Number(values.seed));
const problems: string[] = [];
const counts = new Map<string, number>();
const { RUN_STATUS_COMPLETED, RUN_STATUS_FAILED } = v1.RunStatus;

const settings: Partial<v1.RunSettings> = values.factbook
  ? { totalSteps: 200, warmupSteps: 100, batchSize: 4, sequenceLength: 64, segmentSteps: 20, evaluationWindow: 128, targetSparsity: 0.3 }
  : { totalSteps: 400, warmupSteps: 200, targetSparsity: 0.3 };
const model = values.factbook ? { modelPath: FACTBOOK_MODEL } : {};

/** The pause is long enough for a run to get on between two deaths, and short enough to hit the run while it starts. */
const LONGEST_PAUSE_MS = 1_500;

console.log(`chaos: ${rounds} rounds, seed ${values.seed}, ${engines} engines`);
// With this interval some segments are recorded together, so that a death loses several of them.
const server = TestServer.inNewFolder({ ESPALIER_RECORD_INTERVAL_MS: '300', ESPALIER_ENGINES: values.engines });
await server.start();
/** Runs train side by side and differ by their seeds. These are the states in which the runs end when each trains alone. */
const expected: string[] = [];
for (let index = 0; index < engines; index += 1) {
  const alone = await server.launch({ ...settings, seed: BigInt(42 + index) }, model);
  expected.push((await server.completed(alone.runId, 300_000)).stateDigest);
}
console.log(`undisturbed: ${expected.join(' ')}`);
let done = 0;
let runs = 0;
while (done < rounds && problems.length === 0) await disturbRuns();
await server.dispose();
const summary = [...counts].map(([name, count]) => `${name} ${count}`).join(', ');
console.log(`${done} rounds over ${runs} runs (${summary}): ${problems.length} problems`);
for (const problem of problems) console.error(`  ${problem}`);
process.exit(problems.length === 0 ? 0 : 1);

interface Watched {
  runId: string;
  expected: string;
  seen: v1.HistoryEvent[];
}

/** Trains one run for each engine to its end, and disturbs the runs in rounds. */
async function disturbRuns(): Promise<void> {
  let watched: Watched[] = [];
  for (const [index, digest] of expected.entries()) {
    const { runId } = await patient(() => server.launch({ ...settings, seed: BigInt(42 + index) }, model));
    watched.push({ runId, expected: digest, seen: [] });
  }
  while (watched.length > 0) {
    const going: Watched[] = [];
    for (const one of watched) if (await goesOn(one)) going.push(one);
    watched = going;
    if (problems.length > 0) {
      console.error(server.logTail());
      return;
    }
    if (watched.length === 0) return;
    if (done >= rounds) {
      await random.pause(500);
      continue;
    }
    await random.pause(LONGEST_PAUSE_MS);
    await disturb(random.pick(disturbances), random.pick(watched).runId);
    done += 1;
    if (done % 25 === 0) console.log(`round ${done}: ${watched.length} runs go on`);
  }
}

/** Returns false if the run has ended, in whatever way. */
async function goesOn(one: Watched): Promise<boolean> {
  const { runId } = one;
  const run = await patient(() => server.run(runId));
  const events = await patient(() => server.events(runId));
  problems.push(...recordProblems(events, one.seen).map((problem) => `run ${runId}, round ${done}: ${problem}`));
  one.seen = events;
  if (run.status === RUN_STATUS_FAILED) problems.push(`run ${runId} failed: ${run.failure?.code} ${run.failure?.message}`);
  if (run.status === RUN_STATUS_FAILED) return false;
  if (run.status !== RUN_STATUS_COMPLETED) return true;
  await checkEnd(one);
  runs += 1;
  return false;
}

async function disturb(disturbance: Disturbance, runId: string): Promise<void> {
  counts.set(disturbance.name, (counts.get(disturbance.name) ?? 0) + 1);
  await disturbance.apply(server, random, runId);
  if (server.pidOf('orchestrator') !== null) return;
  if (!(await server.orphansGone())) problems.push(`after ${disturbance.name}: processes outlived the orchestrator`);
  await server.start();
}

async function checkEnd({ runId, expected }: Watched): Promise<void> {
  const run = await patient(() => server.run(runId));
  const { stateDigest, restarts, evaluations, teacherCount } = run;
  if (stateDigest !== expected) problems.push(`run ${runId} ended in ${stateDigest}, undisturbed it is ${expected}`);
  if (evaluations.length !== 2) problems.push(`run ${runId} has ${evaluations.length} evaluations`);
  const shown = JSON.stringify(comparable(run));
  await collect(server.history.rebuildViews({}));
  const rebuilt = JSON.stringify(comparable(await server.run(runId)));
  if (shown !== rebuilt) problems.push(`run ${runId}: the views differ from a rebuild\n    ${shown}\n    ${rebuilt}`);
  console.log(`round ${done}: run ${runId} ended right (${teacherCount} teachers, ${restarts} restarts)`);
}

/** Repeats a call. Calls fail while a process is dead, which is not a problem as long as they succeed in the end. */
async function patient<T>(call: () => Promise<T>): Promise<T> {
  for (const until = Date.now() + 60_000; ;) {
    try {
      return await call();
    } catch (error) {
      if (Date.now() > until) throw error;
      await random.pause(200);
    }
  }
}

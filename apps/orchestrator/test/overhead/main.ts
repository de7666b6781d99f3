// npm run overhead -- --help
//
// Measures the cost of a run beyond its steps. It trains the bundled model through the real processes (events, digests, states, teachers,
// views), and the very same steps, teachers included, on a bare engine that makes no states. Both work in turns of a few seconds. The order
// of each pair of turns is drawn at random, because the machine's own speed changes more in a minute than what is measured. While the bare
// engine works, the run's processes are stopped (SIGSTOP) and get no requests. So an earlier run, which is not timed, tells who instructs
// which steps. All of the run's time counts, except for the stops: from when it has its engine (model, tokens and first state loaded, which
// a run without a history needs, too) to its recorded end. It is compared with the time of the bare engine's steps, including its changes
// of teachers. The stops cost the run a little, too. Nothing else should run on the machine.
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EspalierError } from '#protocol';
import { parseConfig } from '../../src/config.js';
import { endStepOf } from '../../src/pruning-run/method/phases.js';
import { EngineProcess } from '../../src/engines/engine-process.js';
import { Random } from '../chaos/random.js';
import { TestServer } from '../harness/server.js';
import { parseArguments, UsageError, type OverheadArguments } from './arguments.js';
import { BareEngine } from './bare-engine.js';
import { figuresOf, turnsOf, type Turn } from './figures.js';
import { launch, recordedRun, type RecordedRun } from './recorded-run.js';
import { WatchedRun } from './watched-run.js';

const random = new Random(Date.now() % 1e6);
try {
  await measure(parseArguments(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(error.message);
  process.exitCode = error.exitCode;
}

async function measure(options: OverheadArguments): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-overhead-'));
  try {
    const plan = resolve(options.plan ?? join(folder, 'plan'));
    mkdirSync(plan, { recursive: true });
    const recorded = await recordedRun(plan, options.threads, options.settings);
    const turns: Turn[] = options.out !== undefined && existsSync(options.out) ? turnsIn(options.out) : [];
    for (let run = 0; run < options.runs; run += 1) {
      const measured = await oneRun(options, recorded, folder).catch((error: unknown) => {
        if (!(error instanceof EspalierError)) throw error;
        console.error(`run ${run + 1} of ${options.runs} is not counted: ${error.message}`);
        return [];
      });
      if (turns.length + measured.length === 0) continue;
      turns.push(...measured);
      if (options.out !== undefined) appendFileSync(options.out, measured.map((turn) => `${JSON.stringify(turn)}\n`).join(''));
      console.log(JSON.stringify({ ...options.settings, steps: endStepOf(recorded.run.settings), ...figuresOf(turns) }));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function turnsIn(file: string): Turn[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Turn);
}

async function oneRun({ threads, settings, turnMs }: OverheadArguments, recorded: RecordedRun, folder: string): Promise<Turn[]> {
  const options = { folder: join(folder, 'engine'), device: 'auto', threads, onOutput: () => undefined };
  const [bareTimes, stepTimes] = ['bare', 'run'].map((name) => join(folder, `steps-${name}-${Date.now()}`)) as [string, string];
  process.env['ESPALIER_STEP_TIMES'] = bareTimes;
  const lent = await EngineProcess.start(options, new AbortController().signal);
  const server = TestServer.inNewFolder({
    ESPALIER_RECORD_INTERVAL_MS: String(parseConfig(['node', 'orchestrator']).recordIntervalMs),
    ESPALIER_STEP_TIMES: stepTimes,
  });
  server.threads = threads;
  try {
    const bare = new BareEngine(lent.client, recorded.artifacts, recorded, bareTimes);
    await bare.open(threads);
    await server.start();
    const runId = await launch(server, settings);
    const watched = new WatchedRun(server, runId, stepTimes);
    try {
      await sleep(turnMs); // the run gets its engine in the meantime
      while (!bare.hasEnded) {
        const [first, second] = random.next() < 0.5 ? [ours, theirs] : [theirs, ours];
        await first();
        await second();
      }
      async function ours(): Promise<void> {
        watched.goOn();
        await sleep(turnMs);
      }
      async function theirs(): Promise<void> {
        watched.stop();
        await bare.trainFor(turnMs / 1000);
      }
    } finally {
      watched.goOn();
    }
    await server.completed(runId, 1_800_000, 500);
    const { stateDigest, ...record } = await watched.record();
    if (stateDigest !== bare.stateDigest) {
      throw new UsageError(
        'the bare engine ended in another state than the run: the run in --plan is of another engine or number of threads',
        2,
      );
    }
    return turnsOf({ ...record, bareSeconds: bare.seconds });
  } finally {
    await lent.stop();
    await server.dispose();
  }
}

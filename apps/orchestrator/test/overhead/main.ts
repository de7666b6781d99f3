// npm run overhead -- [--steps N] [--threads N] [--turn-ms N]
//
// What a run costs beyond its steps. Trains the bundled model through the real processes (events, digests, states, teachers,
// views), and the very same steps, teachers included, on a bare engine that nobody asks for a state; both in turns of a few
// seconds, because the machine's own rate moves more in a minute than what is measured. While the bare engine works, the run's
// processes are stopped (SIGSTOP); nobody asks them anything, so a run before it, not timed, tells where segments end. The
// run's time for what it recorded at once is taken from its own events, less the time it was stopped; compared is the time
// inside the bare engine's steps. Given are the ratio of the sums, the median of the ratios of what was recorded at once, and
// the processor time of the other processes for each segment (their start left out). Being stopped costs the run a little too, some ten milliseconds a turn: shorter turns show more than there is. Nothing else should run.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openArtifactStore } from '#artifact-store';
import { v1 } from '#protocol';
import type { ReplayPlanner } from '../../src/verification/replay-plan.js';
import { engineLender } from '../../src/verification/verification-engine.js';
import { FACTBOOK_MODEL, TestServer, TRAINING_DATA } from '../harness/server.js';
import { BareEngine } from './bare-engine.js';
import { planOf, WatchedRun, type TimedSegment } from './watched-run.js';

const { values } = parseArgs({
  options: { steps: { type: 'string', default: '1400' }, threads: { type: 'string', default: '2' }, 'turn-ms': { type: 'string', default: '3000' } },
});
const threads = Number(values.threads);
const totalSteps = Number(values.steps);
const turnMs = Number(values['turn-ms']);

const folder = mkdtempSync(join(tmpdir(), 'espalier-overhead-'));
const before = await started();
await before.server.completed(before.runId, 1_800_000, 1_000);
const plan = planOf(await before.server.events(before.runId));
await before.server.stop();
const lent = await engineLender({ dataFolder: folder })(threads, new AbortController().signal);
try {
  const bare = new BareEngine(lent.client, await openArtifactStore({ folder: join(before.server.dataFolder, 'artifacts') }), threads);
  await bare.open(plan.run!);
  const timed = await started();
  console.log(JSON.stringify(await inTurns(timed.server, timed.runId, bare, plan)));
  await timed.server.dispose();
} finally {
  await lent.release();
  await before.server.dispose();
  rmSync(folder, { recursive: true, force: true });
}

async function started(): Promise<{ server: TestServer; runId: string }> {
  const server = TestServer.inNewFolder({ ESPALIER_RECORD_INTERVAL_MS: '1000' });
  server.threads = threads;
  await server.start();
  const settings = v1.RunSettings.fromPartial({ preset: 'short', totalSteps });
  // No evaluation at the end.
  const { runId } = await server.launch({}, { modelPath: FACTBOOK_MODEL, data: { trainPath: TRAINING_DATA, validationPath: '' }, settings });
  return { server, runId };
}

async function inTurns(server: TestServer, runId: string, bare: BareEngine, { run, segments }: ReplayPlanner): Promise<Record<string, number>> {
  const watched = new WatchedRun(server, runId);
  await server.until(runId, ({ step }) => step > 0n, 60_000, 20);
  watched.count();
  const bareSeconds: number[] = []; // by segment
  try {
    while (bareSeconds.length < segments.length) {
      await sleep(turnMs);
      watched.stop();
      for (let seconds = 0; seconds < turnMs / 1000 && bareSeconds.length < segments.length;) {
        const next = await bare.train(run!, segments[bareSeconds.length]!);
        bareSeconds.push(next);
        seconds += next;
      }
      watched.goOn();
    }
    await server.completed(runId, 600_000, 500);
    const processorMs = watched.processorMs(); // before its record is asked for
    return summary(await watched.segments(), bareSeconds, processorMs);
  } finally {
    watched.goOn();
  }
}

function summary(timed: TimedSegment[], bareSeconds: number[], processorMs: Record<string, number>): Record<string, number> {
  const groups = new Map<number, { seconds: number; bare: number }>();
  timed.forEach(({ recordedAtMs, seconds }, index) => {
    const group = groups.get(recordedAtMs) ?? { seconds: 0, bare: 0 };
    groups.set(recordedAtMs, { seconds: group.seconds + seconds, bare: group.bare + bareSeconds[index]! });
  });
  const measured = [...groups.values()].slice(1); // the first holds the start of both engines
  const sum = (numbers: number[]): number => numbers.reduce((total, one) => total + one, 0);
  const runSeconds = sum(measured.map(({ seconds }) => seconds));
  const bare = sum(measured.map((group) => group.bare));
  const ratios = measured.map(({ seconds, bare: own }) => seconds / own - 1).sort((left, right) => left - right);
  return {
    steps: totalSteps, segments: timed.length, recordings: groups.size, run_seconds: round(runSeconds), bare_step_seconds: round(bare),
    overhead: round(runSeconds / bare - 1), overhead_median: round(ratios[ratios.length >> 1]!),
    ...Object.fromEntries(Object.entries(processorMs).map(([name, ms]) => [`${name}_processor_ms_each`, round(ms / timed.length)])),
  };
}

function round(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}

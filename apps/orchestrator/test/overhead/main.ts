// npm run overhead -- [--steps N] [--rounds N] [--threads N] [--turn-ms N]
//
// What a run costs beyond its steps. Trains the bundled model through the real processes (events, digests, states, teachers,
// views), and the very same steps, teachers included, on a bare engine that nobody asks for a state; both in turns of a second
// or so, because the machine's own rate moves more in a minute than what is measured. While the bare engine works, the run's
// processes are stopped (SIGSTOP). Of each turn: how long the run took for the segments that it recorded, by its own events and
// without the time it was stopped, and the time inside the bare engine's steps for the same ones. Given are the ratio of the
// sums, the median of the ratios of the turns, how long the engine waited between two segments, and the processor time of the
// other processes for each segment. One JSON line a round. Nothing else should run.
import { openArtifactStore } from '#artifact-store';
import { v1 } from '#protocol';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { engineLender } from '../../src/verification/verification-engine.js';
import { FACTBOOK_MODEL, TestServer, TRAINING_DATA } from '../harness/server.js';
import { BareEngine } from './bare-engine.js';
import { WatchedRun, type RecordedSegment } from './watched-run.js';

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '1400' }, rounds: { type: 'string', default: '1' }, threads: { type: 'string', default: '2' },
    'turn-ms': { type: 'string', default: '1500' },
  },
});
const threads = Number(values.threads);
const totalSteps = Number(values.steps);
const turnMs = Number(values['turn-ms']);

for (let round = 0; round < Number(values.rounds); round += 1) {
  const server = TestServer.inNewFolder({ ESPALIER_RECORD_INTERVAL_MS: '1000' });
  server.threads = threads;
  await server.start();
  // No evaluation at the end.
  const settings = v1.RunSettings.fromPartial({ preset: 'short', totalSteps });
  const { runId } = await server.launch({}, { modelPath: FACTBOOK_MODEL, data: { trainPath: TRAINING_DATA, validationPath: '' }, settings });
  console.log(JSON.stringify(await inTurns(server, runId)));
  await server.dispose();
}

async function inTurns(server: TestServer, runId: string): Promise<Record<string, number>> {
  const run = new WatchedRun(server, runId);
  const folder = mkdtempSync(join(tmpdir(), 'espalier-bare-'));
  const artifacts = await openArtifactStore({ folder: join(server.dataFolder, 'artifacts') });
  const lent = await engineLender({ dataFolder: folder })(threads, new AbortController().signal);
  const bare = new BareEngine(lent.client, artifacts, threads);
  const turns: { segments: RecordedSegment[]; bareSeconds: number }[] = [];
  try {
    do {
      await sleep(turnMs);
      const segments = await run.recordedSince();
      run.stop();
      turns.push({ segments, bareSeconds: await bare.train(run.state!, segments.map(({ plan }) => plan)) });
      run.goOn();
    } while (!run.completed);
    return summary(turns, run.processorMs());
  } finally {
    run.goOn();
    await lent.release();
    rmSync(folder, { recursive: true, force: true });
  }
}

function summary(turns: { segments: RecordedSegment[]; bareSeconds: number }[], processorMs: Record<string, number>): Record<string, number> {
  // The first turn with steps holds the start of both engines, and a recorded segment's time is counted from the one before.
  const measured = turns.filter(({ segments }) => segments.length > 0).slice(1);
  const segments = measured.flatMap((turn) => turn.segments);
  const sum = (numbers: number[]): number => numbers.reduce((total, one) => total + one, 0);
  const runSeconds = sum(segments.map((one) => one.seconds));
  const inSegments = sum(segments.map((one) => one.trainingSeconds));
  const bareSeconds = sum(measured.map((turn) => turn.bareSeconds));
  const ratios = measured.map((turn) => sum(turn.segments.map(({ seconds }) => seconds)) / turn.bareSeconds - 1).sort((left, right) => left - right);
  const all = turns.flatMap((turn) => turn.segments).length;
  return {
    steps: totalSteps, segments: all, turns: measured.length, run_seconds: round(runSeconds), bare_step_seconds: round(bareSeconds),
    overhead: round(runSeconds / bareSeconds - 1), overhead_median_of_turns: round(ratios[ratios.length >> 1]!),
    between_segments_ms_each: round(((runSeconds - inSegments) * 1000) / segments.length),
    ...Object.fromEntries(Object.entries(processorMs).map(([name, ms]) => [`${name}_processor_ms_each`, round(ms / all)])),
  };
}

function round(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}

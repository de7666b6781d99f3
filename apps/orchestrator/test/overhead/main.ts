// npm run overhead -- [--steps N] [--rounds N] [--threads N]
//
// What a run costs beyond its steps. Trains the bundled model through the real processes (events, digests, states, teachers,
// views) and times it by its own events, from the engine's start to the last recorded step. Then does the very same steps,
// teachers included, on a bare engine that nobody asks for a state, and sums the time inside them. One JSON line a round.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openArtifactStore } from '#artifact-store';
import { v1 } from '#protocol';
import { decodeStored } from '../../src/pruning-run/stored-event.js';
import { segmentRequest, sessionOptions } from '../../src/run-execution/engine-requests.js';
import { partsOf, ReplayPlanner } from '../../src/verification/replay-plan.js';
import { engineLender } from '../../src/verification/verification-engine.js';
import { FACTBOOK_MODEL, TestServer, TRAINING_DATA } from '../harness/server.js';

const { values } = parseArgs({
  options: { steps: { type: 'string', default: '400' }, rounds: { type: 'string', default: '3' }, threads: { type: 'string', default: '2' } },
});
const threads = Number(values.threads);
const totalSteps = Number(values.steps);
const shares: number[] = [];
for (let round = 0; round < Number(values.rounds); round += 1) {
  const { server, planner, runSeconds, segmentSeconds } = await trainedThroughHistory();
  const bareSeconds = await bareStepSeconds(server.dataFolder, planner);
  await server.dispose();
  const overhead = runSeconds / bareSeconds - 1;
  shares.push(overhead);
  console.log(JSON.stringify({ steps: totalSteps, segments: planner.segments.length, teachers: planner.run!.teachers.length, run_seconds: runSeconds, segment_seconds: segmentSeconds, bare_step_seconds: bareSeconds, overhead }));
}
console.log(JSON.stringify({ overhead_median: shares.sort((left, right) => left - right)[shares.length >> 1] }));

async function trainedThroughHistory(): Promise<{ server: TestServer; planner: ReplayPlanner; runSeconds: number; segmentSeconds: number }> {
  const server = TestServer.inNewFolder();
  server.threads = threads;
  await server.start();
  // The proportions of the preset `short` in fewer steps; no evaluation at the end.
  const settings = v1.RunSettings.fromPartial({ preset: 'short', totalSteps, warmupSteps: Math.floor(totalSteps * 0.6) });
  const { runId } = await server.launch({}, { modelPath: FACTBOOK_MODEL, data: { trainPath: TRAINING_DATA, validationPath: '' }, settings });
  await server.completed(runId, 1_800_000, 1_000); // who asks all the time slows it down
  const planner = new ReplayPlanner();
  let startedAt = 0;
  let endedAt = 0;
  let segmentSeconds = 0;
  for (const { type, dataJson, revision } of await server.events(runId)) {
    const event = decodeStored({ type, data: Buffer.from(dataJson) });
    planner.push(event, Number(revision));
    if (event.type === 'EngineAttached') startedAt = Date.parse(event.at);
    if (event.type === 'MasksUpdated') {
      endedAt = Date.parse(event.at);
      segmentSeconds += event.data.trainingSeconds;
    }
  }
  await server.stop();
  return { server, planner, runSeconds: (endedAt - startedAt) / 1000, segmentSeconds };
}

async function bareStepSeconds(dataFolder: string, { run, segments }: ReplayPlanner): Promise<number> {
  const artifacts = await openArtifactStore({ folder: join(dataFolder, 'artifacts') });
  const folder = mkdtempSync(join(tmpdir(), 'espalier-bare-'));
  const signal = new AbortController().signal;
  const { client, release } = await engineLender({ dataFolder: folder })(threads, signal);
  try {
    const { settings, data } = run!;
    const { sessionId } = await client.openSession(sessionOptions(run!, threads), 'overhead');
    await client.loadTrainingTokens(sessionId, data.trainDigest, data.trainTokens, artifacts.open(data.trainDigest));
    await client.initialiseState(sessionId, BigInt(settings.seed));
    let seconds = 0;
    for (const part of segments.flatMap(partsOf)) {
      const [{ teacher }] = part.stretches;
      if (teacher.kind === 'snapshot') await client.loadTeacher(sessionId, teacher.stateDigest, artifacts.open(teacher.stateDigest));
      await client.trainSegment(segmentRequest(sessionId, settings, part, null, 'leave'), (steps) => {
        for (const step of steps) seconds += step.seconds;
      }, signal);
    }
    return seconds;
  } finally {
    await release();
    rmSync(folder, { recursive: true, force: true });
  }
}

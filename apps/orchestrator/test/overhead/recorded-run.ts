// A run that was trained before and has ended, with its teachers and its end.
import { join } from 'node:path';
import { openArtifactStore, type ArtifactStore } from '#artifact-store';
import { v1 } from '#protocol';
import type { PruningRunState } from '../../src/pruning-run/aggregate/pruning-run.js';
import type { TeacherStretch } from '../../src/pruning-run/planning/segment-plan.js';
import { FACTBOOK_MODEL, TestServer, TRAINING_DATA, unary } from '../harness/server.js';
import { replayPlan } from '../harness/record-checks.js';
import type { OverheadArguments } from './arguments.js';

export interface RecordedRun {
  run: PruningRunState;
  stretches: TeacherStretch[];
  artifacts: ArtifactStore;
}

/** Launches a run of the bundled model without an evaluation at the end. Its name tells its settings. */
export async function launch(server: TestServer, asked: OverheadArguments['settings']): Promise<string> {
  const settings = v1.RunSettings.fromPartial(asked);
  const { runId } = await server.launch(
    {},
    { name: JSON.stringify(asked), modelPath: FACTBOOK_MODEL, data: { trainPath: TRAINING_DATA, validationPath: '' }, settings },
  );
  return runId;
}

/** Returns the run with these settings in this folder, and trains it first where the folder has none. */
export async function recordedRun(folder: string, threads: number, asked: OverheadArguments['settings']): Promise<RecordedRun> {
  const server = new TestServer(folder, {});
  server.threads = threads;
  await server.start();
  try {
    const { runs } = await unary<v1.ListRunsResponse>((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({}), done));
    const there = runs.find(({ name }) => name === JSON.stringify(asked));
    const runId = there?.runId ?? (await launch(server, asked));
    await server.completed(runId, 1_800_000, 1_000);
    return { ...planOf(await server.events(runId)), artifacts: await openArtifactStore({ folder: join(folder, 'artifacts') }) };
  } finally {
    await server.stop();
  }
}

function planOf(events: v1.HistoryEvent[]): Pick<RecordedRun, 'run' | 'stretches'> {
  const planner = replayPlan(events);
  return { run: planner.run!, stretches: planner.segments.flatMap(({ stretches }) => stretches) };
}

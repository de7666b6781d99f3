// npm run record-histories [-- --replace]
//
// Records histories of the present event version with the real processes, for histories.test.ts: a run with everything that a run can live
// through, a fork that is cancelled, a run that waits at an obstacle, a run that is described, thinned out and deleted, and a run that
// skips its steps until it is given up. Existing files stay as they are, since a recorded history never changes: a new story is a new file.
// --replace is for histories that were not released. Prints the outcome that the test must expect of each history.
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { v1 } from '#protocol';
import { CURRENT_VERSION } from '../../src/pruning-run/record/event-versions.js';
import { foldHistory, recordProblems } from '../harness/record-checks.js';
import { collect, CORPUS, TestServer, TINY_MODEL, unary } from '../harness/server.js';

const { values } = parseArgs({ options: { replace: { type: 'boolean', default: false } } });
const folder = fileURLToPath(new URL('../../../../../apps/orchestrator/src/pruning-run/record/histories/', import.meta.url));
const { RUN_STATUS_PAUSED, RUN_STATUS_CANCELLED, RUN_STATUS_FAILED } = v1.RunStatus;
const server = TestServer.inNewFolder();
/** The model and the text are copied, so that the record names no folder of this machine's user. */
const sources = mkdtempSync(join(tmpdir(), 'espalier-recorded-'));
const [modelPath, trainPath] = [join(sources, 'model'), join(sources, 'text.jsonl')];
cpSync(TINY_MODEL, modelPath, { recursive: true });
cpSync(CORPUS, trainPath);
const made = { modelPath, data: { trainPath, validationPath: trainPath } };

/** The stories in their order: the fork needs the run before it. */
const stories = {
  launched: livedThrough,
  forked: forkedAndCancelled,
  waiting: waitingForOtherNumerics,
  deleted: describedThinnedAndDeleted,
  skipped: givenUpForSkippedSteps,
};

try {
  await server.start();
  for (const [name, live] of Object.entries(stories)) {
    const file = `v${CURRENT_VERSION}-${name}.jsonl`;
    if (existsSync(folder + file) && !values.replace) console.log(`  ${file} is there already, and what was recorded stays`);
    else write(file, await server.events(await live()));
  }
} finally {
  await server.dispose();
  rmSync(sources, { recursive: true });
}

/**
 * The run loses its engine, is paused and resumed, rewound, restarted with its orchestrator, recovers, completes, and is evaluated and
 * exported.
 */
async function livedThrough(): Promise<string> {
  const { runId } = await server.launch({ recoverSteps: 40 }, { name: 'recorded', ...made });
  await server.until(runId, ({ step }) => step >= 20n);
  server.signal('engine', 'SIGKILL');
  await server.until(runId, ({ restarts, step }) => restarts > 0 && step >= 40n);
  await pause(runId);
  await resume(runId, undefined);
  await server.until(runId, ({ teacherCount }) => teacherCount >= 4);
  await pause(runId);
  await resume(runId, { $case: 'teacherMark', value: 2 });
  await server.until(runId, ({ rewinds, step }) => rewinds > 0 && step >= 40n);
  await server.kill('engine', 'store');
  await server.start();
  await server.completed(runId);
  await collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId, form: 'compacted', dtype: 'f32' })));
  await collect(server.runs.evaluateRun(v1.EvaluateRunRequest.fromPartial({ runId, teacherMark: 1 })));
  return runId;
}

async function forkedAndCancelled(): Promise<string> {
  const parentRunId = (await server.completed((await server.launch({}, { name: 'recorded parent', ...made })).runId)).runId;
  const request = v1.ForkRunRequest.fromPartial({
    parentRunId,
    name: 'recorded fork',
    from: { $case: 'teacherMark', value: 3 },
    overrides: { targetSparsity: 0.3, totalSteps: 400 },
  });
  const { run } = await unary<v1.ForkRunResponse>((done) => server.runs.forkRun(request, done));
  await server.until(run!.runId, ({ step, forkedAtStep }) => step > forkedAtStep);
  await unary<v1.CancelRunResponse>((done) => server.runs.cancelRun({ runId: run!.runId, reason: 'for the record' }, done));
  await server.until(run!.runId, ({ status }) => status === RUN_STATUS_CANCELLED);
  return run!.runId;
}

async function waitingForOtherNumerics(): Promise<string> {
  const { runId } = await server.launch({}, { name: 'recorded obstacle', ...made });
  await server.until(runId, ({ step }) => step >= 20n);
  await server.stop();
  server.threads = 2;
  await server.start();
  await server.until(runId, ({ status }) => status === RUN_STATUS_PAUSED);
  return runId;
}

async function describedThinnedAndDeleted(): Promise<string> {
  const { runId } = await server.launch({}, { name: 'recorded draft', tags: ['draft'], note: 'for the record', ...made });
  const describing = { runId, name: 'recorded end', addTags: ['kept'], removeTags: ['draft'], note: '' };
  await unary((done) => server.runs.describeRun(v1.DescribeRunRequest.fromPartial(describing), done));
  await server.completed(runId);
  await collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId, form: 'compacted', dtype: 'f32' })));
  const thinning = { runId, keepEvery: 5, exports: true, reason: 'room' };
  await unary((done) => server.artifacts.discardArtifacts(v1.DiscardArtifactsRequest.fromPartial(thinning), done));
  await unary((done) => server.runs.deleteRun({ runId, reason: 'done with' }, done));
  return runId;
}

/** With these rates and weights the loss is not finite, and all steps are skipped. */
async function givenUpForSkippedSteps(): Promise<string> {
  const unbearable = { loraAlpha: 1e6, loraLearningRate: 1, layerLossWeight: 1e6, gradientClipNorm: 1e6 };
  const { runId } = await server.launch(unbearable, { name: 'recorded skips', ...made });
  await server.until(runId, ({ status }) => status === RUN_STATUS_FAILED);
  return runId;
}

async function pause(runId: string): Promise<void> {
  await unary<v1.PauseRunResponse>((done) => server.runs.pauseRun({ runId }, done));
  await server.until(runId, ({ status }) => status === RUN_STATUS_PAUSED);
}

async function resume(runId: string, from: v1.ResumeRunRequest['from']): Promise<void> {
  await unary<v1.ResumeRunResponse>((done) => server.runs.resumeRun({ runId, from, acceptOtherNumerics: false }, done));
}

function write(name: string, events: v1.HistoryEvent[]): void {
  const problems = recordProblems(events);
  if (problems.length > 0) throw new Error(`${name} is not a true record: ${problems.join('; ')}`);
  writeFileSync(
    folder + name,
    events.map(({ eventId, type, dataJson }) => `${JSON.stringify({ id: eventId, type, data: dataJson })}\n`).join(''),
  );
  const { status, branch, attempt, restarts, revision } = foldHistory(events);
  console.log(
    `  '${name}': { status: '${status}', branch: ${branch}, attempt: ${attempt}, restarts: ${restarts}, revision: ${revision} },`,
  );
  console.log(`    ${[...new Set(events.map(({ type }) => type))].join(' ')}`);
}

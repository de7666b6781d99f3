// npm run record-histories [-- --replace]
//
// Records histories of the present event version with the real processes, for histories.test.ts: a run that lives through
// what a run can live through, a fork that is cancelled, and a run that fails. Do it once for each new version, before its release;
// a recorded history is never changed afterwards. Prints what the test must expect of each.
import { cpSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { v1 } from '#protocol';
import { CURRENT_VERSION } from '../../src/pruning-run/record/event-versions.js';
import { foldHistory, recordProblems } from '../harness/record-checks.js';
import { collect, TestServer, TINY_MODEL, unary } from '../harness/server.js';

const { values } = parseArgs({ options: { replace: { type: 'boolean', default: false } } });
const folder = fileURLToPath(new URL('../../../../../apps/orchestrator/src/pruning-run/record/histories/', import.meta.url));
const { RUN_STATUS_PAUSED, RUN_STATUS_CANCELLED } = v1.RunStatus;
const server = TestServer.inNewFolder();
/** A copy, so that the record names no folder of this machine's user. */
const modelPath = join(server.dataFolder, 'model');
cpSync(TINY_MODEL, modelPath, { recursive: true });

try {
  await server.start();
  const launched = await livedThrough();
  const forked = await forkedAndCancelled(launched);
  const waiting = await waitingForOtherNumerics();
  for (const [name, runId] of Object.entries({ launched, forked, waiting }))
    write(`v${CURRENT_VERSION}-${name}.jsonl`, await server.events(runId));
} finally {
  await server.dispose();
}

/** Loses its engine, is paused and resumed, rewound, restarted with its orchestrator, completed, evaluated and exported. */
async function livedThrough(): Promise<string> {
  const { runId } = await server.launch({}, { name: 'recorded', modelPath });
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
  await collect(server.runs.exportRun({ runId, teacherMark: undefined, form: 'compacted', dtype: 'f32' }));
  await collect(server.runs.evaluateRun(v1.EvaluateRunRequest.fromPartial({ runId, teacherMark: 1 })));
  return runId;
}

async function forkedAndCancelled(parentRunId: string): Promise<string> {
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
  const { runId } = await server.launch({}, { name: 'recorded obstacle', modelPath });
  await server.until(runId, ({ step }) => step >= 20n);
  await server.stop();
  server.threads = 2;
  await server.start();
  await server.until(runId, ({ status }) => status === RUN_STATUS_PAUSED);
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
  if (problems.length > 0) throw new Error(`${name} is no true record: ${problems.join('; ')}`);
  if (existsSync(folder + name) && !values.replace)
    throw new Error(`${name} is there already, and what was recorded stays; --replace where it was not released`);
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

// Goes the whole way once on the bundled model: starts a server, launches a run, watches, evaluates and exports it, and prints the results.
import { randomUUID } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { restrictToOwner } from '#files';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import { LAUNCH_TIMEOUT_MS } from '../commands/runs/launch.js';
import type { Connection } from '../connection/connection.js';
import { DEFAULT_SERVER } from '../connection/server-address.js';
import type { Context } from '../command-context.js';
import { downloadExport } from '../exports/download-export.js';
import { findExportPlace } from '../exports/export-folder.js';
import { EXPORTS_FOLDER } from '../output/result-files.js';
import { requireFilePlace, writeFileWhole } from '../output/result-files.js';
import { evaluateRun, exportRun } from '../engine-calls.js';
import { percent } from '../output/format.js';
import { followRun } from '../progress/follow-run.js';
import { stepsInWords } from '../output/run-status.js';
import { RunRenderer } from '../progress/run-renderer.js';
import { ShareLine } from '../progress/share-line.js';
import { settingsOf } from '../options/settings-options.js';
import { commandOn, printQuickstart, type QuickstartOutcome, type QuickstartResult } from './quickstart-report.js';
import { startStack, STOP_TIMEOUT_MS, stopStack, type RunningStack, type StackOptions } from '../local-server/stack.js';

/** The options, besides the settings, which are named by their options. */
export interface QuickstartOptions {
  threads?: string;
  /** The file for the result. */
  json?: string;
  /** Whether to stop the server at the end, if this command has started it. */
  stop?: boolean;
}

const ROOT = fileURLToPath(new URL('../../../../../', import.meta.url)); // seen from dist/apps/cli/src/quickstart
const QUICKSTART_MODEL = join(ROOT, 'examples/models/factbook-llama-3m');
const QUICKSTART_DATA = {
  trainPath: join(ROOT, 'examples/data/factbook/train.jsonl'),
  validationPath: join(ROOT, 'examples/data/factbook/validation.jsonl'),
};
const LOST_SERVER_MS = 120_000;

export async function runQuickstart(context: Context, options: QuickstartOptions): Promise<QuickstartOutcome> {
  const startedAt = Date.now();
  const { json } = options;
  if (json !== undefined)
    await requireFilePlace(json, { option: '--json', force: true, what: 'the result of a quickstart', isOurs: isResult });
  context.allowToTidyUp(STOP_TIMEOUT_MS);
  const stack = await start(context, options);
  const stops = options.stop === true && !stack.wasRunning;
  try {
    const launched = await launch(context.connection, options);
    const { runId, settings = v1.RunSettings.create() } = launched;
    const target = percent(settings.targetSparsity ?? 0);
    context.output.line(`pruning ${QUICKSTART_MODEL} to ${target}: run ${context.output.style('bold', runId)}, ${stepsInWords(settings)}`);
    await followToCompletion(context, launched.runId, stack.wasRunning);
    const measured = await measure(context, launched.runId);
    const outcome = await collect(context, launched.runId, measured, startedAt);
    if (json !== undefined) await writeResult(json, outcome.result);
    printQuickstart(context, outcome, stops ? null : stack);
    return outcome;
  } finally {
    // A command that is told to stop also stops the server that it has started.
    if (stops || (context.signal.aborted && !stack.wasRunning)) {
      await stopStack(context.dataFolder);
      const again = context.signal.aborted ? 'the run goes on once it is started again' : 'start it again with';
      context.output.line(`the server is stopped; ${again}: ${commandOn(context)} up --detach`);
    }
  }
}

async function start({ dataFolder, output, signal }: Context, { threads }: QuickstartOptions): Promise<RunningStack> {
  const stack = await startOnSomePort({ dataFolder, threads }, signal);
  output.line(`${stack.wasRunning ? 'server already running' : 'server started'} at ${stack.listen}, data in ${dataFolder}`);
  return stack;
}

/** The server of another data folder may have the default port, or take it meanwhile. Ours is found through its data folder on any port. */
async function startOnSomePort(options: StackOptions, signal: AbortSignal): Promise<RunningStack> {
  if (await isFree(DEFAULT_SERVER)) {
    try {
      return await startStack(options, signal);
    } catch (error) {
      if (signal.aborted || (await isFree(DEFAULT_SERVER))) throw error;
    }
  }
  return startStack({ ...options, listen: '127.0.0.1:0' }, signal);
}

async function isFree(address: string): Promise<boolean> {
  const [host, port] = address.split(':');
  return new Promise((resolve) => {
    const probe = createServer()
      .once('error', () => resolve(false))
      .once('listening', () => probe.close(() => resolve(true)));
    probe.listen(Number(port), host);
  });
}

async function launch(connection: Connection, options: QuickstartOptions): Promise<v1.Run> {
  const response = await connection.call(
    connection.runs,
    connection.runs.launchRun,
    v1.LaunchRunRequest.fromPartial({
      requestId: randomUUID(),
      name: 'quickstart',
      modelPath: QUICKSTART_MODEL,
      data: QUICKSTART_DATA,
      settings: settingsOf(options),
    }),
    LAUNCH_TIMEOUT_MS,
  );
  return response.run;
}

async function followToCompletion(context: Context, runId: string, serverStays: boolean): Promise<void> {
  const renderer = new RunRenderer(context.output);
  try {
    const items = followRun({ runId, findServer: () => context.findServer(), signal: context.signal, giveUpAfterMs: LOST_SERVER_MS });
    for await (const item of items) renderer.show(item);
  } catch (error) {
    renderer.clear();
    if (context.signal.aborted && serverStays)
      context.output.line(`no longer watching; the run goes on: ${commandOn(context)} watch ${runId}`);
    throw error;
  }
  renderer.end();
  const { run } = renderer;
  if (run?.status === v1.RunStatus.RUN_STATUS_COMPLETED) return;
  throw new CliError(run?.failure?.code || 'RUN_NOT_COMPLETED', run?.failure?.message || `the run ended otherwise than completed`, {
    exitCode: ExitCode.failed,
    hint: `its history: npx espalier history ${runId}`,
  });
}

interface Measured {
  intact: v1.Evaluation;
  masked: v1.Evaluation;
  exported: v1.Evaluation;
  modelExport: v1.ModelExport;
  exportFolder: string;
  prunedBytes: number;
}

async function measure(context: Context, runId: string): Promise<Measured> {
  const { connection, output, signal } = context;
  const step = async <T>(what: string, work: (onProgress: (share: number, waitingFor?: string) => void) => Promise<T>): Promise<T> => {
    const line = new ShareLine(output, what);
    try {
      return await work((share, waitingFor) => line.update(share, waitingFor));
    } finally {
      line.end();
    }
  };
  // A run with validation text is evaluated when it completes, so it is not evaluated again.
  const { run } = await connection.call(connection.runs, connection.runs.getRun, { runId });
  const headline = run.evaluations.find((one) => one.headline);
  const onTheSame = ({ dataDigest, window }: v1.Evaluation) => dataDigest === headline?.dataDigest && window === headline.window;
  const intact =
    run.evaluations.findLast((one) => one.subject === 'intact' && onTheSame(one)) ??
    (await step('evaluating the intact model', (report) => evaluateRun(connection, { runId, intact: true }, report, signal)));
  const masked = headline ?? (await step('evaluating the pruned model', (report) => evaluateRun(connection, { runId }, report, signal)));
  const modelExport = await step('exporting', (report) => exportRun(connection, { runId, form: 'compacted' }, report, signal));
  const exportFolder = join(context.dataFolder, EXPORTS_FOLDER, runId);
  const place = await findExportPlace(exportFolder, false);
  const written = await step('writing the model', (report) =>
    downloadExport(connection, {
      digest: modelExport.digest,
      place,
      signal,
      onProgress: report,
      findServer: () => context.findServer(),
    }),
  );
  restrictToOwner(join(context.dataFolder, EXPORTS_FOLDER)); // as with all files in a data folder
  const exported = await step('evaluating the exported model', (report) =>
    evaluateRun(connection, { runId, exportDigest: modelExport.digest }, report, signal),
  );
  const prunedBytes = written.files.filter((file) => file.name.endsWith('.safetensors')).reduce((sum, file) => sum + file.bytes, 0);
  return { intact, masked, exported, modelExport, exportFolder, prunedBytes };
}

async function collect({ connection }: Context, runId: string, measured: Measured, startedAt: number): Promise<QuickstartOutcome> {
  const { run } = await connection.call(connection.runs, connection.runs.getRun, { runId });
  const { teachers } = await connection.call(connection.artifacts, connection.artifacts.listTeachers, {
    runId,
    includeAbandoned: false,
    includeInherited: false,
    includeDiscarded: false,
  });
  const { settings = v1.RunSettings.create() } = run;
  const trainedTokens = Number(run.step) * (settings.batchSize ?? 0) * (settings.sequenceLength ?? 0);
  const result: QuickstartResult = {
    steps: Number(run.step),
    target_sparsity: settings.targetSparsity ?? Number.NaN,
    sparsity: run.hardSparsity,
    parameters_dense: Number(run.parameterCount),
    parameters_pruned: Number(measured.modelExport.parameterCount),
    bytes_dense: await weightBytes(QUICKSTART_MODEL),
    bytes_pruned: measured.prunedBytes,
    perplexity_intact: measured.intact.perplexity,
    perplexity_masked: measured.masked.perplexity,
    perplexity_exported: measured.exported.perplexity,
    state_digest: run.stateDigest,
    teachers: teachers.length,
    training_seconds: run.trainingSeconds,
    total_seconds: (Date.now() - startedAt) / 1000,
    tokens_per_second: run.trainingSeconds > 0 ? trainedTokens / run.trainingSeconds : 0,
  };
  return { run, teachers, exportFolder: measured.exportFolder, result };
}

async function weightBytes(folder: string): Promise<number> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.safetensors'));
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function writeResult(file: string, result: QuickstartResult): Promise<void> {
  await writeFileWhole(
    file,
    (async function* () {
      yield Buffer.from(`${JSON.stringify(result, null, 2)}\n`);
    })(),
  );
}

/** The fields by which a file is known as a result of quickstart. */
const RESULT_FIELDS = ['steps', 'target_sparsity', 'perplexity_exported', 'state_digest'] as const satisfies (keyof QuickstartResult)[];

function isResult(head: Buffer): boolean {
  try {
    const value = JSON.parse(head.toString('utf8')) as object;
    return RESULT_FIELDS.every((field) => Object.hasOwn(value, field));
  } catch {
    return false; // not a result, which is shorter than the head of a file
  }
}

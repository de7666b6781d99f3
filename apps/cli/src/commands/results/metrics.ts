import type { FileHandle } from 'node:fs/promises';
import type { Command } from 'commander';
import { LOSS_NAMES, LOSSES } from '#comparison';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { requireFilePlace, writeFileWhole } from '../../output/result-files.js';
import { findMlflowPlace, writeMlflowRun } from '../../metrics/mlflow-store.js';
import { absolutePath, bigNumber, positiveNumber } from '../../options/parse.js';
import { bytes, decimal, howMany, learningLoss, percent, teacherWord } from '../../output/format.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';

interface MetricsOptions {
  fromStep?: bigint;
  toStep?: bigint;
  points?: number;
  abandoned?: boolean;
  export?: string;
  out?: string;
  force?: boolean;
}
/** The rows of a table that fits a screen. */
const TABLE_POINTS = 40;
const BINARY = ['parquet', 'tensorboard'];
/** Matches the first record of every TensorBoard event file, which has this text behind its length and checksum. */
const EVENT_FILE = /^.{12}\x09.{8}\x1a\x0dbrain\.Event:2/s;
/** The size of the end of a Parquet file, where it names its columns. */
const FOOTER_BYTES = 65_536;

export function registerMetrics(program: Command): void {
  const metrics = program
    .command('metrics')
    .argument(...RUN_ARGUMENT)
    .summary('losses, sparsity and teachers by step; as a table or a file')
    .description(
      'Shows the metrics of a run. Long runs are thinned out with their extremes kept; --export gives every step. Losses are distances ' +
        'to the teacher of their step: layer is a share of what the layers of the teacher put out, kl and lm are in nats a token.',
    )
    .option('--from-step <n>', 'first step', bigNumber)
    .option('--to-step <n>', 'last step', bigNumber)
    .option('--points <n>', 'how many steps to show, 2 to 10,000', positiveNumber)
    .option('--abandoned', 'also steps on branches that the run was rewound from')
    .option('--export <format>', 'every step as csv, jsonl, parquet, tensorboard or mlflow (docs/tracking.md)')
    .option('-o, --out <path>', 'with --export: where to (csv and jsonl: standard output by default; mlflow: a folder)', absolutePath)
    .option('--force', 'with --out: replace earlier metrics of that name');
  examples(
    metrics,
    ['espalier metrics k3f9'],
    ['espalier metrics k3f9 --export csv > k3f9.csv'],
    ['espalier metrics k3f9 --export parquet --out k3f9.parquet'],
    ['espalier metrics k3f9 --export tensorboard --out logs/k3f9/events.out.tfevents.k3f9', 'then: tensorboard --logdir logs'],
    ['espalier metrics k3f9 --export mlflow --out mlruns', 'then: mlflow ui --backend-store-uri mlruns'],
  );
  action<MetricsOptions, [string]>(metrics, async (context, [runId], options) => {
    checkExportOptions(options);
    if (options.export === 'mlflow') return exportToMlflow(context, runId, options);
    if (options.export !== undefined) return exportMetrics(context, runId, options.export, options);
    const { connection, output } = context;
    const response = await connection.call(connection.history, connection.history.queryMetrics, {
      runId: runId,
      fromStep: options.fromStep,
      toStep: options.toStep,
      includeAbandoned: options.abandoned ?? false,
      maxPoints: options.points ?? (output.json ? 0 : TABLE_POINTS),
    });
    output.result(response, () => printMetrics(context, response));
    return undefined;
  });
}

/** Refuses options that choose steps beside --export, which holds every step. */
function checkExportOptions(options: MetricsOptions): void {
  if (options.export === undefined) {
    if (options.out !== undefined)
      throw new CliError('OPTION_REQUIRED', '--out needs --export csv, jsonl, parquet, tensorboard or mlflow', {
        field: '--out',
        exitCode: ExitCode.usage,
      });
    return;
  }
  const chosen = {
    '--from-step': options.fromStep,
    '--to-step': options.toStep,
    '--points': options.points,
    '--abandoned': options.abandoned,
  };
  for (const [field, value] of Object.entries(chosen)) {
    if (value !== undefined)
      throw new CliError('OPTIONS_CONFLICT', `--export gives every step: ${field} is not allowed with it`, {
        field,
        exitCode: ExitCode.usage,
      });
  }
}

function printMetrics({ output }: Context, response: v1.QueryMetricsResponse): void {
  if (response.steps.length === 0) {
    output.line('no steps are recorded there yet');
    return;
  }
  const losses = LOSS_NAMES.filter((name) => response.steps.some((step) => step[name] !== undefined));
  const titles = losses.map((name) => LOSSES[name].short.toUpperCase());
  output.table(
    ['STEP', 'LOSS', ...titles, 'LAGRANGIAN', 'SCHEDULED', 'EXPECTED', 'GRADIENT', 'TEACHER', 'SECONDS', ''],
    response.steps.map((step) => [
      String(step.step),
      decimal(learningLoss(step)),
      ...losses.map((name) => decimal(step[name])),
      decimal(step.lagrangian),
      percent(step.scheduledSparsity, 2),
      percent(step.expectedSparsity, 2),
      decimal(step.gradientNorm),
      teacherWord(step.teacher),
      decimal(step.seconds, 3),
      step.skipped ? 'skipped' : '',
    ]),
    Array.from({ length: losses.length + 6 }, (_, index) => index),
    { SECONDS: 7, GRADIENT: 6, LAGRANGIAN: 5, ...Object.fromEntries(titles.map((title, index) => [title, 2 + index])), SCHEDULED: 1 },
  );
  if (response.downsampled)
    output.line(output.style('dim', `${response.steps.length} of ${howMany(response.totalSteps, 'step')}; all of them with --export csv`));
}

/** Tells whether the file begins like an export by Espalier, or ends like one (Parquet). */
async function isMetricsFile(head: Buffer, file: FileHandle): Promise<boolean> {
  const text = head.toString('latin1');
  if (text.startsWith('branch,attempt,abandoned,step,') || /^\{"branch":\d+,"attempt":\d+,"abandoned":/.test(text)) return true;
  if (EVENT_FILE.test(text)) return true;
  if (!text.startsWith('PAR1')) return false;
  const { size } = await file.stat();
  const { buffer, bytesRead } = await file.read(Buffer.alloc(FOOTER_BYTES), 0, FOOTER_BYTES, Math.max(size - FOOTER_BYTES, 0));
  const footer = buffer.subarray(0, bytesRead).toString('latin1');
  return footer.endsWith('PAR1') && ['branch', 'attempt', 'abandoned', 'expected_sparsity'].every((name) => footer.includes(name));
}

async function exportToMlflow({ connection, output, signal }: Context, runId: string, { out, force }: MetricsOptions): Promise<undefined> {
  if (out === undefined) {
    throw new CliError('OPTION_REQUIRED', 'mlflow is a folder: name it with --out', { field: '--out', exitCode: ExitCode.usage });
  }
  const { run } = await connection.call(connection.runs, connection.runs.getRun, { runId });
  const place = await findMlflowPlace(out, run.runId, force === true);
  const responses = connection.stream(connection.history, connection.history.exportMetrics, { runId: run.runId, format: 'jsonl' }, signal);
  const steps = await writeMlflowRun(place, run, linesOf(responses));
  output.result({ folder: place.run, steps, format: 'mlflow' }, () => output.line(`${place.run}, ${howMany(steps, 'step')}`));
}

async function* linesOf(responses: AsyncIterable<v1.ExportMetricsResponse>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const { chunk } of responses) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

async function exportMetrics(
  { connection, output, signal }: Context,
  runId: string,
  format: string,
  { out, force }: MetricsOptions,
): Promise<undefined> {
  if (!['csv', 'jsonl', ...BINARY].includes(format)) {
    throw new CliError(
      'OPTION_INVALID',
      `${JSON.stringify(format)} is not a format; csv, jsonl, parquet, tensorboard and mlflow are allowed`,
      {
        field: '--export',
        exitCode: ExitCode.usage,
      },
    );
  }
  if (out === undefined && BINARY.includes(format) && process.stdout.isTTY) {
    throw new CliError('OPTION_REQUIRED', `${format} is not for the terminal: name a file with --out`, {
      field: '--out',
      exitCode: ExitCode.usage,
    });
  }
  if (out !== undefined)
    await requireFilePlace(out, { option: '--out', force: force === true, what: 'a file of metrics', isOurs: isMetricsFile });
  const responses = connection.stream(connection.history, connection.history.exportMetrics, { runId, format }, signal);
  if (out === undefined) {
    for await (const { chunk } of responses) {
      if (!process.stdout.write(chunk)) await new Promise((resolve) => process.stdout.once('drain', resolve));
    }
    return;
  }
  const written = await writeFileWhole(
    out,
    (async function* () {
      for await (const { chunk } of responses) yield chunk;
    })(),
  );
  output.result({ file: out, bytes: written, format }, () => output.line(`${out}, ${bytes(written)}`));
}

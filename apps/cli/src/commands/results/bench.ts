// The command bench, which measures the speed of a run's model before and after pruning, and the table of seconds by width for
// target_speedup.
import { gainWords, spreadWords } from '#comparison';
import { pathWords } from '#hub';
import { Readable } from 'node:stream';
import type { Command } from 'commander';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { benchModel, benchRun } from '../../engine-calls.js';
import { writeFileWhole } from '../../output/result-files.js';
import { measureTable, tableWords } from '../../options/measured-table.js';
import { HubFiles } from '../../options/hub-files.js';
import { MODEL_OPTION } from '../../options/model-option.js';
import { exportFormat, positiveNumber, sequencesTogether, wholeNumber } from '../../options/parse.js';
import { bytes, count, decimal, howMany } from '../../output/format.js';
import { ShareLine } from '../../progress/share-line.js';
import { action, examples } from '../command.js';

interface BenchOptions {
  teacher?: number;
  export?: string;
  prompt?: number;
  tokens?: number;
  batch?: number;
  rounds?: number;
  dtype?: string;
  format?: string;
  table?: boolean;
  model?: string;
  on?: string;
  phase?: string;
  context?: number;
  out?: string;
}

export function registerBench(program: Command): void {
  const bench = program
    .command('bench')
    .argument('[run]', 'id or name of the run, or the beginning of its id; left out with --model')
    .summary('speed of a run, one of its teachers or an export beside the intact model, or of a model without a run')
    .description(
      'Measures how long the model takes for a prompt (prefill) and for each token after it (decode), before pruning and ' +
        'after, in turns, so that a machine that slows down slows both. Times are medians over the rounds. A ratio compares ' +
        'times of the same round, and is shown with an interval that holds the true median in 95 of 100 cases. Rounds go on ' +
        'until the interval is narrow, or for ten seconds. Both models are stored in one dtype. Parameters are those of an ' +
        'export. The ratios are recorded in the history of the run. A run with target_speedup is measured with the context and ' +
        'batch of its speed table, and the speedup by the table is shown beside the measured one, here and in `show`. With ' +
        '--model alone, a model without a run is measured beside no other, and its times are recorded under the digest of the ' +
        'weights. With ' +
        '--table the command measures such a table for a model; the machine should be idle.',
    )
    .option('--teacher <mark>', 'this teacher instead of the last state', wholeNumber)
    .option('--export <digest>', 'an exported model of the run instead (4 or more digits of its digest)')
    .option('--prompt <tokens>', 'length of each prompt (default: 128)', positiveNumber)
    .option('--tokens <n>', 'tokens to make after each prompt (default: 32)', positiveNumber)
    .option('--batch <n>', 'prompts that are decoded together, 1 to 16 (default: 1)', sequencesTogether)
    .option('--rounds <n>', 'number of rounds (default: until the ratios are certain)', positiveNumber)
    .option('--dtype <type>', 'bf16 or f32 (default: f32 where the model is stored so, else bf16)')
    .option('--format <format>', 'format of the export whose parameters are shown (default: hf-remote)', exportFormat)
    .option('--table', 'measure the seconds by width of a model, for --speed-table of a launch')
    .option(MODEL_OPTION[0], `a model without a run: ${MODEL_OPTION[1]}`, MODEL_OPTION[2])
    .option('--on <device>', 'with --table: measure on an engine with this device, e.g. cpu (default: any)')
    .option('--phase <phase>', 'with --table: decode or prefill (default: decode)')
    .option('--context <tokens>', 'with --table: tokens before the new one, or tokens of the prompt (default: 2048)', positiveNumber)
    .option('--out <file>', 'the file that --table writes');
  examples(
    bench,
    ['espalier bench k3f9'],
    ['espalier bench k3f9 --teacher 30 --batch 8 --prompt 64'],
    ['espalier bench --model HuggingFaceTB/SmolLM2-135M', 'a model without a run'],
    ['espalier bench --table --model ./model --context 2048 --out cpu.json'],
  );
  action<BenchOptions>(bench, async (context, [runId], options) => {
    const { connection, output, signal } = context;
    if (options.table === true) return writeTable(context, runId, options);
    const misplaced = (['on', 'phase', 'context', 'out'] as const).find((name) => options[name] !== undefined);
    if (misplaced !== undefined) throw usage(`--${misplaced} belongs to --table`);
    if (options.model !== undefined) return measureModel(context, runId, options.model, options);
    if (runId === undefined) throw usage('a run is needed, or --model with a model');
    const { run } = await connection.call(connection.runs, connection.runs.getRun, { runId });
    const { budget } = run;
    const measured = budget?.speed;
    const sequences = options.batch ?? measured?.batch ?? 1;
    const line = new ShareLine(output, 'measuring');
    const request = {
      ...measurement(options),
      runId,
      teacherMark: options.teacher,
      exportDigest: options.export ?? '',
      promptTokens: options.prompt ?? measured?.context ?? 0,
      sequences,
    };
    try {
      const outcome = await benchRun(connection, request, (share, waitingFor) => line.update(share, waitingFor), signal);
      line.end();
      const { dense, compact, copyBytesPerSecond, rounds, computeDtype, format } = outcome;
      output.result(outcome, () => {
        output.table(HEAD, [row('intact', dense, sequences), row('pruned', compact, sequences)], [1, 2, 3, 4], {
          PREFILL: 'wrap',
          DECODE: 'wrap',
        });
        const gains = `prefill ${gainWords(compact.prefillSpeedUp)}, decode ${gainWords(compact.decodeSpeedUp)}`;
        output.text(`${gains}; ${howMany(rounds, 'round')}, both in ${computeDtype}`);
        if (budget !== undefined && measured !== undefined) output.text(speedTargetWords(budget, measured, compact));
        output.text(format === '' ? 'parameters of the export that was measured' : `parameters of an export in the format ${format}`);
        const share = (speed: v1.ModelSpeed): string => readShare(speed, copyBytesPerSecond);
        output.text(`weights are read at ${share(dense)} (intact) and ${share(compact)} (pruned) of ${copyWords(copyBytesPerSecond)}`);
      });
    } finally {
      line.end();
    }
  });
}

const measurement = ({ prompt = 0, tokens = 0, batch = 0, rounds = 0, dtype = '', format = '' }: BenchOptions) =>
  ({ promptTokens: prompt, tokens, sequences: batch, rounds, computeDtype: dtype, format }) satisfies Partial<v1.BenchRunRequest>;

async function measureModel(context: Context, runId: string | undefined, model: string, options: BenchOptions): Promise<void> {
  if (runId !== undefined) throw usage('--model names a model without a run: leave the run out');
  const misplaced = (['teacher', 'export'] as const).find((name) => options[name] !== undefined);
  if (misplaced !== undefined) throw usage(`--${misplaced} is for a run, and --model has none`);
  const { connection, output, signal } = context;
  const request = { ...measurement(options), modelPath: await new HubFiles(context).model(model) };
  const line = new ShareLine(output, 'measuring');
  try {
    const outcome = await benchModel(connection, request, (share, waitingFor) => line.update(share, waitingFor), signal);
    line.end();
    const { dense, copyBytesPerSecond, rounds, computeDtype, format } = outcome;
    output.result(outcome, () => {
      output.table(HEAD, [row('intact', dense, options.batch ?? 1)], [1, 2, 3, 4], { PREFILL: 'wrap', DECODE: 'wrap' });
      output.text(`${pathWords(request.modelPath)}; ${howMany(rounds, 'round')} in ${computeDtype}; parameters as in the format ${format}`);
      output.text(`weights are read at ${readShare(dense, copyBytesPerSecond)} of ${copyWords(copyBytesPerSecond)}`);
    });
  } finally {
    line.end();
  }
}

const HEAD = ['MODEL', 'PARAMETERS', 'WEIGHTS READ', 'PREFILL', 'DECODE'];
const readShare = (speed: v1.ModelSpeed, copyBytesPerSecond: number): string => decimal(readRate(speed) / copyBytesPerSecond, 2);
const copyWords = (copyBytesPerSecond: number): string => `the ${bytes(copyBytesPerSecond)}/s that a copy reads and writes here`;

function readRate({ weightBytes, passSeconds }: v1.ModelSpeed): number {
  return Number(weightBytes) / passSeconds;
}

function row(name: string, { parameterCount, weightBytes, ...speed }: v1.ModelSpeed, sequences: number): string[] {
  const { prefillSpeedUp: prefill, decodeSpeedUp: decode } = name === 'intact' ? {} : speed;
  // Only the ratios have intervals.
  const tokens = (times: number): string => count(Math.round((sequences / speed.passSeconds) * (times / (decode?.times ?? 1))));
  const prompt = (times: number): string => decimal(speed.prefillSeconds * ((prefill?.times ?? 1) / times) * 1e3, 2);
  return [
    name,
    count(parameterCount),
    bytes(weightBytes),
    `${prompt(prefill?.times ?? 1)} ms${prefill === undefined ? '' : ` (${prompt(prefill.high)} to ${prompt(prefill.low)})`}`,
    `${tokens(decode?.times ?? 1)} tokens/s${decode === undefined ? '' : ` (${tokens(decode.low)} to ${tokens(decode.high)})`}`,
  ];
}

const usage = (message: string): CliError => new CliError('USAGE', message, { exitCode: ExitCode.usage });

/** "asked 1.60x in decode on this device; by the table 1.61x; measured 1.57x (1.54 to 1.60)" */
function speedTargetWords({ intact, asked, predicted }: v1.Budget, { phase, device }: v1.SpeedMeasured, compact: v1.ModelSpeed): string {
  const times = (ratio: number): string => `${decimal(ratio, 2)}x`;
  const gained = phase === 'decode' ? compact.decodeSpeedUp : compact.prefillSpeedUp;
  const parts = [`asked ${times(intact / asked)} in ${phase} on ${device}`];
  if (predicted !== undefined) parts.push(`the last state by the table ${times(intact / predicted)}`);
  if (gained !== undefined) parts.push(`measured ${times(gained.times)} (${spreadWords(gained)})`);
  return parts.join('; ');
}

async function writeTable(context: Context, runId: string | undefined, options: BenchOptions): Promise<void> {
  if (runId !== undefined) throw usage('--table measures a model, not a run: leave the run out');
  const { model, out } = options;
  if (model === undefined || out === undefined) throw usage(`--table needs ${model === undefined ? '--model' : '--out'}`);
  const misplaced = (['teacher', 'export', 'prompt', 'tokens', 'format'] as const).find((name) => options[name] !== undefined);
  if (misplaced !== undefined) throw usage(`--${misplaced} has no meaning with --table`);
  const request = {
    modelPath: await new HubFiles(context).model(model),
    on: options.on ?? '',
    phase: options.phase ?? '',
    context: options.context ?? 0,
    batch: options.batch ?? 0,
    rounds: options.rounds ?? 0,
    computeDtype: options.dtype ?? '',
    settings: undefined,
    data: undefined,
  };
  const answer = await measureTable(context, request);
  await writeFileWhole(out, Readable.from([answer.table]));
  const { table, ...figures } = answer;
  const { output } = context;
  output.result({ ...figures, file: out, bytes: table.length }, () => {
    output.text(tableWords(answer, request.phase));
    if (answer.problem !== '') output.text(`${answer.problem} (the file is written all the same)`);
    else output.text(`${out}: launch with --target-speedup and --speed-table ${out}`);
  });
}

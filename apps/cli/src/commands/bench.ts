// bench: the speed of the pruned model beside the model before pruning.
import { speedWords, spreadWords } from '#comparison';
import type { Command } from 'commander';
import type { v1 } from '#protocol';
import { benchRun } from '../engine-calls.js';
import { positiveNumber, wholeNumber } from '../options/parse.js';
import { bytes, count, decimal, howMany } from '../output/format.js';
import { ShareLine } from '../progress/share-line.js';
import { action, examples, RUN_ARGUMENT } from './command.js';

interface BenchOptions {
  teacher?: number;
  export?: string;
  prompt?: number;
  tokens?: number;
  batch?: number;
  rounds?: number;
  dtype?: string;
  format?: string;
}

export function registerBench(program: Command): void {
  const bench = program
    .command('bench')
    .argument(...RUN_ARGUMENT)
    .summary('speed of a run, one of its teachers or an export beside the intact model')
    .description(
      'Measures how long the model takes for a prompt (prefill) and for each token after it (decode), before pruning and after, in ' +
        'turns, so that a machine that slows down slows both. Times are medians over the rounds; a ratio is that of the times in the ' +
        'same round, with the interval in which that of many more rounds would lie. Rounds go on until it is narrow, or for ten ' +
        'seconds. Both models are stored in one dtype. Parameters are those of an export. Nothing is recorded.',
    )
    .option('--teacher <mark>', 'this teacher instead of the last state', wholeNumber)
    .option('--export <digest>', 'an exported model of the run instead (4 or more digits of its digest)')
    .option('--prompt <tokens>', 'length of each prompt (default: 128)', positiveNumber)
    .option('--tokens <n>', 'to make after each prompt (default: 32)', positiveNumber)
    .option('--batch <n>', 'prompts that are decoded together, 1 to 16 (default: 1)', positiveNumber)
    .option('--rounds <n>', 'how often (default: until the ratios are certain)', positiveNumber)
    .option('--dtype <type>', 'bf16 or f32 (default: f32 where the model is stored so, else bf16)')
    .option('--format <format>', 'of the export whose parameters are told (default: hf-remote)');
  examples(bench, ['espalier bench k3f9'], ['espalier bench k3f9 --teacher 30 --batch 8 --prompt 64']);
  action<BenchOptions>(bench, async ({ connection, output, signal }, [runId], options) => {
    const line = new ShareLine(output, 'measuring');
    const request = {
      runId: runId!,
      teacherMark: options.teacher,
      exportDigest: options.export ?? '',
      promptTokens: options.prompt ?? 0,
      tokens: options.tokens ?? 0,
      sequences: options.batch ?? 0,
      rounds: options.rounds ?? 0,
      computeDtype: options.dtype ?? '',
      format: options.format ?? '',
    };
    try {
      const outcome = await benchRun(connection, request, (share, waitingFor) => line.update(share, waitingFor), signal);
      line.end();
      const { dense, compact, copyBytesPerSecond, rounds, computeDtype, format } = outcome;
      const sequences = options.batch ?? 1;
      output.result(outcome, () => {
        output.table(
          ['MODEL', 'PARAMETERS', 'WEIGHTS READ', 'PREFILL', 'DECODE'],
          [row('intact', dense, sequences), row('pruned', compact, sequences)],
          [1, 2, 3, 4],
        );
        const gains = `prefill ${gain(compact.prefillSpeedUp)}, decode ${gain(compact.decodeSpeedUp)}`;
        output.text(`${gains}; ${howMany(rounds, 'round')}, both in ${computeDtype}`);
        output.text(format === '' ? 'parameters of the export that was measured' : `parameters of an export in the format ${format}`);
        const share = (speed: v1.ModelSpeed): string => decimal(readRate(speed) / copyBytesPerSecond, 2);
        output.text(
          `weights are read at ${share(dense)} (intact) and ${share(compact)} (pruned) of the ${bytes(copyBytesPerSecond)}/s that a copy ` +
            'reads and writes here',
        );
      });
    } finally {
      line.end();
    }
  });
}

function readRate({ weightBytes, passSeconds }: v1.ModelSpeed): number {
  return Number(weightBytes) / passSeconds;
}

/** "1.6x faster (1.58 to 1.65)" */
const gain = (speedUp: v1.SpeedUp | undefined): string =>
  speedUp === undefined ? '-' : `${speedWords(speedUp)} (${spreadWords(speedUp)})`;

function row(name: string, speed: v1.ModelSpeed, sequences: number): string[] {
  return [
    name,
    count(speed.parameterCount),
    bytes(speed.weightBytes),
    `${decimal(speed.prefillSeconds * 1e3, 2)} ms`,
    `${count(Math.round(sequences / speed.passSeconds))} tokens/s`,
  ];
}

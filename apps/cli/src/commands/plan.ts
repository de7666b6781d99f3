import type { Command } from 'commander';
import { v1 } from '#protocol';
import { ExitCode } from '../cli-error.js';
import type { Context } from '../context.js';
import { needed, runFileFor } from '../options/run-file.js';
import { addSettingOptions, settingsOf } from '../options/settings-options.js';
import { absolutePath, modelFolder } from '../options/parse.js';
import { bytes, count, duration, howMany } from '../output/format.js';
import { printSettings } from '../output/settings.js';
import { resultWords } from '../output/result-words.js';
import { printWarnings } from '../output/warnings.js';
import { action, examples } from './command.js';
import { LAUNCH_TIMEOUT_MS } from './launch.js';

export function registerPlan(program: Command): void {
  const plan = program
    .command('plan')
    .summary('what a launch would be and take')
    .description(
      'Checks a model and settings as a launch would, and shows the settings in full, the memory that the run would take, the disk ' +
        'that its snapshots will, and the time where a run like it was here before, without launching anything. Warns when the target ' +
        'sparsity is out of reach. Exit code 1 when it would not fit.',
    )
    .option('--model <folder>', 'Hugging Face folder: config.json, *.safetensors, tokenizer.json (or one of these files)', modelFolder)
    .option('--config <file>', 'YAML file of what is not given as an option, as launch takes it', absolutePath);
  addSettingOptions(plan);
  examples(
    plan,
    ['espalier plan --model models/llama --batch-size 16 --sequence-length 512'],
    ['espalier plan --model models/llama --preset paper --checkpoint-activations --json'],
  );
  action<{ model?: string; config?: string }>(plan, async (context, _, options) => {
    const { connection, output } = context;
    const file = await runFileFor(options);
    const response = await connection.call(
      connection.runs,
      connection.runs.planRun,
      { modelPath: needed('--model', options.model ?? file.model), settings: settingsOf(options, file.settings) },
      LAUNCH_TIMEOUT_MS,
    );
    output.result(response, () => printPlan(context, response));
    printWarnings(output, response.warnings, plan);
    return fits(response.memory!) ? ExitCode.ok : ExitCode.failed;
  });
}

function fits({ totalBytes, availableBytes, hostBytes, hostAvailableBytes }: v1.MemoryPlan): boolean {
  return totalBytes <= availableBytes && hostBytes <= hostAvailableBytes;
}

/** The options that would make a run fit. */
function changeText({ change }: v1.MemoryPlan, settings: v1.RunSettings | undefined): string {
  if (change === undefined) return 'it does not fit, and no smaller batch or sequence would';
  const options = [
    ...(change.checkpointActivations && settings?.checkpointActivations !== true ? ['--checkpoint-activations'] : []),
    ...(change.streamWeights && settings?.streamWeights !== true ? ['--stream-weights'] : []),
    ...(change.batchSize === settings?.batchSize ? [] : [`--batch-size ${change.batchSize}`]),
    ...(change.sequenceLength === settings?.sequenceLength ? [] : [`--sequence-length ${change.sequenceLength}`]),
  ];
  return `it does not fit: ${bytes(change.totalBytes)} would, with ${options.join(' ')}`;
}

function estimateWords({ estimatedSeconds, estimatedByRunId }: v1.PlanRunResponse): string {
  if (estimatedSeconds === undefined) return 'not known yet: no run here has trained this model by this recipe in such batches';
  return `about ${duration(estimatedSeconds)}, at the speed of run ${estimatedByRunId}`;
}

function printPlan(context: Context, response: v1.PlanRunResponse): void {
  const { settings, parameterCount, prunableParameterCount, memory, disk } = response;
  const { output } = context;
  const m = memory!;
  output.line(`${howMany(parameterCount, 'parameter')}, ${count(prunableParameterCount)} of them prunable`);
  printSettings(context, settings);
  output.line();
  output.line(output.style('bold', 'Memory'));
  output.pairs([
    ['asked', `engine ${response.engine}`],
    ['weights', bytes(m.weightsBytes)],
    ['LoRA and masks', bytes(m.loraBytes)],
    ['optimizer', bytes(m.optimizerBytes)],
    ['activations', bytes(m.activationsBytes)],
    ['teachers', bytes(m.teachersBytes)],
    ['scratch', bytes(m.scratchBytes)],
    ...(m.hostBytes === 0n ? [['process', bytes(m.processBytes)] satisfies [string, string]] : []),
    ['in all', `${bytes(m.totalBytes)} of ${bytes(m.availableBytes)}`],
    ...(m.hostBytes === 0n ? [] : [['on the host', `${bytes(m.hostBytes)} of ${bytes(m.hostAvailableBytes)}`] satisfies [string, string]]),
  ]);
  if (disk !== undefined) {
    output.line();
    output.line(output.style('bold', 'Disk'));
    output.pairs([
      ['snapshots', `${howMany(disk.teachers, 'teacher')} of ${bytes(disk.stateBytes)}`],
      ['in all', `${bytes(disk.totalBytes)}${disk.availableBytes === undefined ? '' : ` of ${bytes(disk.availableBytes)}`}`],
    ]);
  }
  if (response.result !== undefined) {
    output.line();
    output.line(output.style('bold', 'Result'));
    output.pairs([['at the target', resultWords(response.result, settings)]]);
  }
  output.line();
  output.line(output.style('bold', 'Time'));
  output.pairs([['training', estimateWords(response)]]);
  if (!fits(m)) output.line(output.style('red', changeText(m, settings)));
}

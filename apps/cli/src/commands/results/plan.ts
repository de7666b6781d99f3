import type { Command } from 'commander';
import { budgetPlanWords } from '#comparison';
import { v1 } from '#protocol';
import { ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { needed, runFileFor, type MeasuredOn } from '../../options/run-file.js';
import { addSettingOptions } from '../../options/settings-options.js';
import { addTableOptions, settingsWithTable } from '../../options/table-options.js';
import { MODEL_OPTION } from '../../options/model-option.js';
import { absolutePath } from '../../options/parse.js';
import { bytes, count, decimal, duration, howMany, percent } from '../../output/format.js';
import { printSettings } from '../../output/settings.js';
import { resultWords } from '../../output/result-words.js';
import { printWarnings, warnOfLostSettings } from '../../output/warnings.js';
import { action, examples } from '../command.js';
import { LAUNCH_TIMEOUT_MS } from '../runs/launch.js';

export function registerPlan(program: Command): void {
  const plan = program
    .command('plan')
    .summary('settings, memory, disk and time of a launch, without launching')
    .description(
      'Checks a model and settings as a launch would, and shows the settings in full, the memory that the run would take, the disk ' +
        'that its snapshots would take, and the time if a similar run was here before. Launches nothing. Warns when the target ' +
        'sparsity is out of reach. A run that would not fit ends the command with exit code 1 and a proposal of settings that fit. With ' +
        '--for-device it plans for a card that this machine need not have (docs/plan.md lists the cards and explains the estimate).',
    )
    .option(...MODEL_OPTION)
    .option('--config <file>', 'YAML file with the values that are not given as options, as launch takes it', absolutePath);
  plan.option('--for-device <card>', 'estimate memory and time on this card by its published figures, e.g. h100-80gb');
  addSettingOptions(addTableOptions(plan));
  examples(
    plan,
    ['espalier plan --model models/llama --batch-size 16 --sequence-length 512'],
    ['espalier plan --model models/llama --preset paper --checkpoint-activations --json'],
    ['espalier plan --model meta-llama/Llama-2-7b-hf --preset paper --for-device h100-80gb'],
  );
  action<MeasuredOn & { model?: string; config?: string; forDevice?: string }>(
    plan,
    async (context, _, options) => {
      const { connection, output } = context;
      const file = await runFileFor(options);
      const modelPath = needed('--model', options.model ?? file.model);
      const settings = await settingsWithTable(context, options, file, modelPath);
      const response = await connection.call(
        connection.runs,
        connection.runs.planRun,
        {
          modelPath,
          settings,
          forDevice: options.forDevice ?? '',
        },
        LAUNCH_TIMEOUT_MS,
      );
      output.result(response, () => printPlan(context, response, settings));
      if (!output.json) printWarnings(output, response.warnings, plan); // the JSON has them
      const exitCode = warnOfLostSettings(output, settings, response.settings);
      return fits(response.memory!) ? exitCode : ExitCode.failed;
    },
    { isVerdict: true },
  );
}

/** Says whether the bytes are those of each card, or of all devices together, which then share the machine's memory. */
function deviceWords({ devices, hostBytes }: v1.MemoryPlan): string {
  if (devices < 2) return '';
  return hostBytes > 0n ? `, on each of ${devices} cards` : `, for ${devices} devices together`;
}

function fits({ totalBytes, availableBytes, hostBytes, hostAvailableBytes }: v1.MemoryPlan): boolean {
  return totalBytes <= availableBytes && hostBytes <= hostAvailableBytes;
}

/** Names the options that would make a run fit. */
function changeText({ memory, settings, card }: v1.PlanRunResponse): string {
  const { change } = memory!;
  if (change === undefined) return 'it does not fit, and no shorter sequences would';
  const options = [
    ...(change.checkpointActivations && settings?.checkpointActivations !== true ? ['--checkpoint-activations'] : []),
    ...(change.streamWeights && settings?.streamWeights !== true ? ['--stream-weights'] : []),
    ...(change.microShards === settings?.microShards ? [] : [`--micro-shards ${change.microShards}`]),
    ...(change.sequenceLength === settings?.sequenceLength ? [] : [`--sequence-length ${change.sequenceLength}`]),
  ];
  const time = card?.changeSeconds === undefined ? '' : `, for about ${duration(card.changeSeconds)}`;
  return `it does not fit: ${bytes(change.totalBytes)} would${time}, with ${options.join(' ')}`;
}

function estimateWords({ estimatedSeconds, estimatedByRunId, card }: v1.PlanRunResponse): string {
  if (card !== undefined) {
    const peak = `${decimal(card.peakFlops / 1e12, 1)} TFLOP/s`;
    return `about ${duration(card.seconds)} on ${card.name}, at ${percent(card.peakShare, 0)} of the ${peak} that its maker publishes`;
  }
  if (estimatedSeconds === undefined) return 'not known yet: no run here has trained this model by this recipe in such batches';
  return `about ${duration(estimatedSeconds)}, at the speed of run ${estimatedByRunId}`;
}

function printPlan(context: Context, response: v1.PlanRunResponse, asked: v1.RunSettings): void {
  const { settings, parameterCount, prunableParameterCount, hiddenSize, memory, disk } = response;
  const { output } = context;
  const m = memory!;
  const size = hiddenSize === 0 ? '' : `, hidden size ${hiddenSize}`; // a server of an earlier release does not tell it
  output.line(`${howMany(parameterCount, 'parameter')}, ${count(prunableParameterCount)} of them prunable${size}`);
  printSettings(context, settings, asked, response);
  output.line();
  output.line(output.style('bold', 'Memory'));
  output.pairs([
    ['asked', `engine ${response.engine}${response.card === undefined ? '' : `; estimated for ${response.card.name}`}`],
    ['weights', bytes(m.weightsBytes)],
    ['LoRA and masks', bytes(m.loraBytes)],
    ['optimizer', bytes(m.optimizerBytes)],
    ['activations', bytes(m.activationsBytes)],
    ['teachers', bytes(m.teachersBytes)],
    ['scratch', bytes(m.scratchBytes)],
    ...(m.hostBytes === 0n ? [['process', bytes(m.processBytes)] satisfies [string, string]] : []),
    ['in all', `${bytes(m.totalBytes)} of ${bytes(m.availableBytes)}${deviceWords(m)}`],
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
  if (response.result !== undefined || response.budget !== undefined) {
    output.line();
    output.line(output.style('bold', 'Result'));
    output.pairs([
      ...(response.budget === undefined ? [] : [['budget', budgetPlanWords(response.budget)] satisfies [string, string]]),
      [
        'at the target',
        response.result === undefined
          ? 'a size that shows in the run: seconds do not tell how many parameters go'
          : resultWords(response.result, settings),
      ],
    ]);
  }
  output.line();
  output.line(output.style('bold', 'Time'));
  output.pairs([['training', estimateWords(response)]]);
  if (!fits(m)) output.text(output.style('red', changeText(response)));
}

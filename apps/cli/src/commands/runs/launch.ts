import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { targetWords } from '#comparison';
import { v1, type RequestedValues } from '#protocol';
import { dataSource, type DataChoice } from '#run-files';
import { ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { addLabelOptions, labelsOf, type LabelOptions } from '../../options/label-options.js';
import { addDataOptions, dataChoice } from '../../options/data-options.js';
import { HubFiles } from '../../options/hub-files.js';
import { MODEL_OPTION } from '../../options/model-option.js';
import { absolutePath, requestId } from '../../options/parse.js';
import { needed, runFileFor, type MeasuredOn } from '../../options/run-file.js';
import { addSettingOptions } from '../../options/settings-options.js';
import { addTableOptions, settingsWithTable } from '../../options/table-options.js';
import { recipeWord } from '../../output/format.js';
import { stepsInWords } from '../../output/run-status.js';
import { printWarnings } from '../../output/warnings.js';
import { choiceWords } from '../../progress/run-line.js';
import { action, examples } from '../command.js';
import { untilPrepared } from './preparation-progress.js';
import { watchToEnd } from './run-watch.js';

interface LaunchOptions extends LabelOptions, DataChoice, MeasuredOn {
  model?: string;
  config?: string;
  requestId?: string;
  watch?: boolean;
}

/** The first call may start an engine, or look for a folder on a slow disk, so it gets a longer time. */
export const LAUNCH_TIMEOUT_MS = 600_000;

export function registerLaunch(program: Command): void {
  const launch = program
    .command('launch')
    .summary('start pruning a model')
    .description(
      'Starts a run: the model of a Hugging Face folder is pruned to the target sparsity on the given text, while the intact model or ' +
        'snapshots of the run teach it. Settings that are not given take the values of the preset. The run is recorded at ' +
        'once, then its model is read and its text tokenized. After that Ctrl-C does not stop it, but espalier cancel does.',
    )
    .option(...MODEL_OPTION)
    .option('--config <file>', 'YAML file with the values that are not given as options, as show RUN --yaml writes one', absolutePath)
    .option('--request-id <id>', 'repeat a launch with the same id without starting a second run', requestId)
    .option('-w, --watch', 'stay and show the progress');
  const data =
    'text to train on: .jsonl or .json with {"text"}, .csv, .tsv, .parquet or .txt, also .gz or .zst, or tokens as .npy or .bin; ' +
    'or a folder of them';
  addSettingOptions(addTableOptions(addLabelOptions(addDataOptions(launch, data, 'text to evaluate on'))));
  examples(
    launch,
    ['espalier launch --model models/llama --data corpus.jsonl --target-sparsity 0.5 --watch'],
    ['espalier launch --model models/llama --data train/ --validation valid.jsonl --recipe distill', 'one intact teacher'],
    ['espalier launch --model models/llama --data chats.jsonl --text-column messages', "conversations, by the model's chat template"],
    ['espalier launch --model models/llama --data corpus.jsonl --target-speedup 1.6 --on cpu', 'faster, by a table that is measured first'],
    ['espalier launch --config run.yaml --seed 7', 'the file, with another seed'],
    ['espalier launch --model models/llama --data train.parquet --preset paper --seed 7 --name "seed 7"'],
  );
  action<LaunchOptions>(launch, (context, _, options) => launchRun(context, launch, options));
}

const SCAN_SETTINGS = [
  'seed',
  'batch_size',
  'sequence_length',
  'calibration_sequences',
  'scan_sequences',
  'compute_dtype',
  'evaluation_tokens',
];

export function registerScan(program: Command): void {
  const scan = program
    .command('scan')
    .summary('score the narrower forms of each layer once, for every size')
    .description(
      'Starts a run of recipe scan. For each layer it scores attention with fewer heads and the MLP with fewer units, each alone in the ' +
        'intact model. Then any number of launches choose by it what each layer keeps (--library), whatever the target. ' +
        'Like every run it goes on after a kill, and can be verified.',
    )
    .option(...MODEL_OPTION)
    .option('--request-id <id>', 'repeat a scan with the same id without starting a second run', requestId)
    .option('-w, --watch', 'stay and show the progress');
  addSettingOptions(addLabelOptions(addDataOptions(scan, 'text to score on, as in launch', 'text to evaluate on')), SCAN_SETTINGS);
  examples(
    scan,
    ['espalier scan --model models/llama --data corpus.jsonl --name layers --watch'],
    ['espalier frontier layers', 'what is lost at each size'],
    ['espalier launch --model models/llama --data corpus.jsonl --preset fisher --library layers --target-params 100M'],
  );
  action<LaunchOptions>(scan, (context, _, options) => launchRun(context, scan, options, { recipe: 'scan' }));
}

/** @param fixed the settings that no option names */
async function launchRun(context: Context, command: Command, options: LaunchOptions, fixed: RequestedValues = {}): Promise<number> {
  const { connection, output } = context;
  const file = await runFileFor(options);
  const data = dataChoice(options, file);
  const hub = new HubFiles(context);
  const modelPath = await hub.model(needed('--model', options.model ?? file.model));
  const source = await hub.source(dataSource({ ...data, data: needed('--data', data.data) }));
  const settings = await settingsWithTable(context, { ...options, ...fixed }, file, modelPath, source);
  const request = v1.LaunchRunRequest.fromPartial({
    requestId: options.requestId ?? randomUUID(),
    ...labelsOf(options, file),
    modelPath,
    data: source,
    settings,
  });
  const response = await connection.call(connection.runs, connection.runs.launchRun, request, LAUNCH_TIMEOUT_MS);
  // The run is recorded, so its id is printed first. With --json the result is one object, so the run is printed once it is prepared.
  if (!output.json) printLaunched(context, response.run, response.alreadyLaunched);
  printWarnings(output, response.warnings, command);
  return endOfLaunch(context, response.run, options);
}

/** Waits until the run of a launch or a fork is prepared, or to its end with --watch, and returns the exit code. */
export async function endOfLaunch(context: Context, launched: v1.Run, { watch }: { watch?: boolean }): Promise<number> {
  const { output } = context;
  if (watch) return watchToEnd(context, launched.runId);
  if (!output.json && launched.preparation !== undefined)
    output.text('the server reads the model and the text; this command ends when training can begin, and the run then goes on by itself');
  const run = await untilPrepared(context, launched);
  if (output.json) output.result(run, () => undefined);
  return ExitCode.ok;
}

export function printLaunched({ output }: Context, run: v1.Run, already: boolean): void {
  const { settings } = run;
  const steps = run.stepsToChoose ? choiceWords(run) : stepsInWords(settings ?? {});
  const aim = settings?.recipe === v1.Recipe.RECIPE_SCAN ? '' : ` to ${targetWords(settings ?? {})}`;
  const what = settings === undefined ? '' : `: ${recipeWord(settings.recipe)}${aim} in ${steps}`;
  output.text(
    `${already ? 'already launched' : 'launched'} ${output.style('bold', run.runId)}${run.name === '' ? '' : ` (${run.name})`}${what}`,
  );
  output.line(`watch it with: espalier watch ${run.runId}`);
}

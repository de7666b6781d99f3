import type { Command } from 'commander';
import { budgetPlanWords, timeWords } from '#comparison';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { needed, runFileFor, type MeasuredOn } from '../../options/run-file.js';
import { addSettingOptions, settingsOf } from '../../options/settings-options.js';
import { addTableOptions, requireNoTable, settingsWithTable } from '../../options/table-options.js';
import { HubFiles } from '../../options/hub-files.js';
import { MODEL_OPTION } from '../../options/model-option.js';
import { absolutePath } from '../../options/parse.js';
import { ShareLine } from '../../progress/share-line.js';
import { measurePlan } from '../../engine-calls.js';
import { bytes, count, decimal, duration, enumWord, howMany, percent } from '../../output/format.js';
import { changedRemarks, computedRemarks, printSettings, type SettingNote } from '../../output/settings.js';
import { resultWords } from '../../output/result-words.js';
import { printWarnings, warnOf } from '../../output/warnings.js';
import { action, examples } from '../command.js';
import { addStartOptions, fileOfFork, startingPoint, startOfFork, type StartingPoint } from '../runs/fork.js';
import { LAUNCH_TIMEOUT_MS } from '../runs/launch.js';
import { lostTeachersNote } from '../runs/lost-teachers.js';
import type { Whole } from '../../connection/connection.js';

export function registerPlan(program: Command): void {
  const plan = program
    .command('plan')
    .argument('[run]', 'the parent of a fork to plan: its id, the first 4 or more characters of it, or its name')
    .summary('settings, memory, disk and time of a launch or a fork, without starting it')
    .description(
      'Checks a model and settings as a launch would, and shows the settings in full, the memory that the run would take, the disk ' +
        'that its snapshots would take, and the time if a similar run was here before or by steps that it measures (--measure). Starts ' +
        'nothing. Warns when the target sparsity is out of reach. A run that would not fit ends the command with exit code 1 and a ' +
        'proposal of settings that fit. With RUN it plans a fork of that run: what the fork would change, and the disk and time of the ' +
        'steps after its start. With --for-device it plans for a card that this machine need not have (docs/plan.md lists the cards and ' +
        'explains the estimate).',
    )
    .option(...MODEL_OPTION)
    .option('--config <file>', 'YAML file with the values that are not given as options, as launch and fork take it', absolutePath);
  addStartOptions(plan);
  plan.option('--for-device <card>', 'estimate memory and time on this card by its published figures, e.g. h100-80gb');
  plan.option('--measure', 'make some steps on an engine first, and tell the time by them; nothing is recorded');
  addSettingOptions(addTableOptions(plan));
  examples(
    plan,
    ['espalier plan --model models/llama --batch-size 16 --sequence-length 512'],
    ['espalier plan --model models/llama --preset paper --checkpoint-activations --json'],
    ['espalier plan --model meta-llama/Llama-2-7b-hf --preset paper --for-device h100-80gb'],
    ['espalier plan --model models/llama --measure', 'the time of a first run'],
    ['espalier plan k3f9 --from-teacher 30 --target-sparsity 0.7 --steps 2000'],
  );
  action<PlanOptions>(
    plan,
    async (context, [parentRunId], options) => {
      const { connection, output } = context;
      requireMeasurable(parentRunId, options);
      const asked = parentRunId === undefined ? await launchToPlan(context, options) : await forkToPlan(context, parentRunId, options);
      const request = v1.PlanRunRequest.fromPartial({ ...asked, forDevice: options.forDevice ?? '' });
      const response = await connection.call(connection.runs, connection.runs.planRun, request, LAUNCH_TIMEOUT_MS);
      const measured = options.measure === true && fits(response.memory) ? await measuredShown(context, request) : undefined;
      const { settings = v1.RunSettings.create() } = request;
      const parent = parentRunId === undefined ? undefined : await runOf(context, parentRunId);
      output.result(measured === undefined ? response : { ...response, measured }, () =>
        parent === undefined
          ? printPlan(context, response, computedRemarks(response.settings, settings, response), measured)
          : printPlanOfFork(context, response, parent),
      );
      if (!output.json) printWarnings(output, response.warnings, plan); // the JSON has them
      return fits(response.memory) ? ExitCode.ok : ExitCode.failed;
    },
    { isVerdict: true },
  );
}

interface PlanOptions extends MeasuredOn, StartingPoint {
  model?: string;
  config?: string;
  forDevice?: string;
  measure?: boolean;
}
function requireMeasurable(parentRunId: string | undefined, { measure, forDevice }: PlanOptions): void {
  if (measure !== true || (parentRunId === undefined && forDevice === undefined)) return;
  const why = parentRunId === undefined ? '--for-device names a card that need not be here' : 'a fork has the speed of its parent';
  throw new CliError('OPTIONS_CONFLICT', `--measure is for launches on an engine that is here: ${why}`, {
    field: '--measure',
    exitCode: ExitCode.usage,
  });
}

async function measuredShown({ connection, output, signal }: Context, request: v1.PlanRunRequest): Promise<v1.MeasuredPlan> {
  const line = new ShareLine(output, 'measuring steps');
  try {
    return await measurePlan(connection, request, (share, waitingFor) => line.update(share, waitingFor), signal);
  } finally {
    line.end();
  }
}

/** From this ratio of the slowest steps' time to the fastest steps' time on, a plan says both. */
const SCATTERED = 1.3;

/** "about 12m00s for 600 steps of pruning and 0 of recovery, as measured: a step takes 0.21 s at first and 0.11 s at the target; ..." */
function measuredWords(measured: v1.MeasuredPlan): string {
  const { stepOpenSeconds: open, stepAtTargetSeconds: atTarget, closingSeconds: closing, evaluationSeconds } = measured;
  const { seconds, fastSeconds, slowSeconds } = measured;
  const a = (step: number): string => `${decimal(step, 3)} s`;
  const steps = [
    ...(open > 0 ? [`a step takes ${a(open)} at first and ${a(atTarget)} at the target`] : []),
    ...(closing > 0 ? [`pruning takes ${duration(closing)}`] : []),
    ...(measured.recoveryStepSeconds > 0 ? [`a step of recovery ${a(measured.recoveryStepSeconds)}`] : []),
  ];
  const evaluated = evaluationSeconds > 0 ? `${duration(evaluationSeconds)} of evaluation` : 'evaluation comes on top';
  const all = `${howMany(measured.totalSteps, 'step')} of pruning and ${count(measured.recoverSteps)} of recovery`;
  const scatter = slowSeconds / fastSeconds;
  const time =
    scatter > SCATTERED
      ? `between ${duration(fastSeconds)} and ${duration(slowSeconds)}, by its median step ${duration(seconds)},`
      : `about ${duration(seconds)}`;
  const scattered =
    scatter > SCATTERED
      ? `The slow steps took ${decimal(scatter, 1)} times as long as the fast ones: other programs use the machine.`
      : `The measured steps put it between ${duration(fastSeconds)} and ${duration(slowSeconds)}.`;
  return `${time} for ${all}, as measured: ${steps.join(', ')}; ${evaluated}. ${scattered}`;
}

type RequestToPlan = Pick<v1.PlanRunRequest, 'settings'> & Partial<v1.PlanRunRequest>;

async function launchToPlan(context: Context, options: PlanOptions): Promise<RequestToPlan> {
  if (startingPoint(options) !== undefined)
    throw new CliError('OPTION_REQUIRED', 'RUN is needed beside the start of a fork: it is the parent', {
      exitCode: ExitCode.usage,
      hint: 'the runs: espalier runs',
    });
  const file = await runFileFor(options);
  const modelPath = await new HubFiles(context).model(needed('--model', options.model ?? file.model));
  return { modelPath, settings: await settingsWithTable(context, options, file, modelPath) };
}

async function forkToPlan({ connection, output }: Context, parentRunId: string, options: PlanOptions): Promise<RequestToPlan> {
  const from = startOfFork(parentRunId, options, `; a launch has --model ${parentRunId}`);
  if (options.model !== undefined)
    throw new CliError('OPTIONS_CONFLICT', '--model is for a launch: a fork has the model of its parent', {
      field: '--model',
      exitCode: ExitCode.usage,
    });
  requireNoTable(options);
  const { settings } = await fileOfFork(options);
  const note = await lostTeachersNote(connection, parentRunId, from);
  if (note !== undefined) warnOf(output, 'TEACHERS_LOST', note);
  return { parentRunId, from, settings: settingsOf(options, settings) };
}

const runOf = async ({ connection }: Context, runId: string): Promise<v1.Run> =>
  (await connection.call(connection.runs, connection.runs.getRun, { runId })).run;

function printPlanOfFork(context: Context, response: Whole<v1.PlanRunResponse>, parent: v1.Run): void {
  const { settings, forkedAtStep = 0n } = response;
  const end = (settings.totalSteps ?? 0) + (settings.recoverSteps ?? 0);
  const steps = howMany(end - Number(forkedAtStep), 'step');
  context.output.text(`a fork of ${parent.runId} at step ${count(forkedAtStep)}: ${steps} to train, up to step ${count(end)}`);
  printPlan(context, response, changedRemarks(parent.settings));
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
function changeText({ memory, settings, card, forkedAtStep }: Whole<v1.PlanRunResponse>): string {
  const { change } = memory;
  if (forkedAtStep !== undefined) return 'it does not fit, and a fork keeps the batch and the length of its parent';
  if (change === undefined) return 'it does not fit, and neither shorter sequences nor recovery by LoRA would';
  const options = [
    ...(change.checkpointActivations && !settings.checkpointActivations ? ['--checkpoint-activations'] : []),
    ...(change.streamWeights && !settings.streamWeights ? ['--stream-weights'] : []),
    ...(change.microShards === settings.microShards ? [] : [`--micro-shards ${change.microShards}`]),
    ...(change.sequenceLength === settings.sequenceLength ? [] : [`--sequence-length ${change.sequenceLength}`]),
    ...(isOther(change.recoverWeights, settings.recoverWeights)
      ? [`--recover-weights ${enumWord(v1.recoverWeightsToJSON(change.recoverWeights), 'RECOVER_WEIGHTS_')}`]
      : []),
  ];
  const time = card?.changeSeconds === undefined ? '' : `, for about ${duration(card.changeSeconds)}`;
  return `it does not fit: ${bytes(change.totalBytes)} would${time}, with ${options.join(' ')}`;
}

/** Tells whether a change names a value other than that of the settings. */
const isOther = (change: v1.RecoverWeights, setting: v1.RecoverWeights): boolean =>
  change !== v1.RecoverWeights.RECOVER_WEIGHTS_UNSPECIFIED && change !== setting;

/** Words for the duration of the steps or, with a time, for the steps that fit it. */
function estimateWords({
  settings,
  stepsToChoose,
  estimatedSeconds,
  estimatedSteps,
  estimatedByRunId,
  card,
}: Whole<v1.PlanRunResponse>): string {
  if (stepsToChoose) {
    const most = `at most about ${count(estimatedSteps ?? 0n)} at the speed of run ${estimatedByRunId}`;
    const known = card === undefined && estimatedSteps !== undefined ? most : 'their number is not known yet';
    return `as many steps as fit ${timeWords(settings.time ?? 0)}, measured at the run's start: ${known}`;
  }
  if (card?.seconds !== undefined) {
    const peak = `${decimal(card.peakFlops / 1e12, 1)} TFLOP/s`;
    return `about ${duration(card.seconds)} on ${card.name}, at ${percent(card.peakShare, 0)} of the ${peak} that its maker publishes`;
  }
  if (estimatedSeconds === undefined) return 'not known yet: no run here has trained this model by this recipe in such batches';
  return `about ${duration(estimatedSeconds)}, at the speed of run ${estimatedByRunId}`;
}

function printPlan(context: Context, response: Whole<v1.PlanRunResponse>, remark: SettingNote, measured?: v1.MeasuredPlan): void {
  const { settings, parameterCount, prunableParameterCount, hiddenSize, memory: m, disk } = response;
  const { output } = context;
  output.line(`${howMany(parameterCount, 'parameter')}, ${count(prunableParameterCount)} of them prunable, hidden size ${hiddenSize}`);
  printSettings(context, settings, remark);
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
    const room = disk.availableBytes === undefined ? '' : ` of ${bytes(disk.availableBytes)}`;
    const most = (words: string): string => (disk.isMost ? `${words} ` : '');
    const teachers = howMany(disk.teachers, response.forkedAtStep === undefined ? 'teacher' : 'more teacher');
    output.line();
    output.line(output.style('bold', 'Disk'));
    output.pairs([
      ['snapshots', `${most('up to')}${teachers} of ${bytes(disk.stateBytes)}`],
      ['events, views', bytes(disk.recordBytes)],
      ['in all', `${most('at most')}${bytes(disk.totalBytes)}${room}; the tokens of the text come on top`],
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
  output.pairs([['training', measured === undefined ? estimateWords(response) : measuredWords(measured)]]);
  if (!fits(m)) output.text(output.style('red', changeText(response)));
}

// The options that launch and fork share. A fork takes only those that keep its state meaningful; the others are sent to
// the server all the same, which refuses them with the reason.
import { Option, type Command } from 'commander';
import { v1 } from '#protocol';
import {
  choice,
  bigNumber,
  DTYPES,
  list,
  number,
  ratio,
  RECIPES,
  SCHEDULES,
  SPARSITY_CONTROLS,
  wholeNumber,
  windowTokens,
} from './parse.js';

export interface SettingsFlags {
  preset?: string;
  recipe?: v1.Recipe;
  targetSparsity?: number;
  steps?: number;
  warmupSteps?: number;
  schedule?: v1.ScheduleShape;
  seed?: bigint;
  loraLr?: number;
  maskLr?: number;
  lambdaLr?: number;
  sparsityControl?: v1.SparsityControl;
  clipNorm?: number;
  layerLossWeight?: number;
  klLossWeight?: number;
  temperature?: number;
  snapshotInterval?: number;
  teacherGap?: number;
  segmentSteps?: number;
  batchSize?: number;
  sequenceLength?: number;
  loraRank?: number;
  loraAlpha?: number;
  loraTargets?: string[];
  dtype?: v1.ComputeDtype;
  dense?: boolean;
  checkpointActivations?: boolean;
  evaluationWindow?: number;
}

/** Both launch and fork may set these. */
export function addScheduleOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--recipe <name>', 'nuteprune (numerous teachers), distill (one intact teacher), lm (language-model loss only)').argParser(
        choice(RECIPES),
      ),
    )
    .option('--target-sparsity <share>', 'share of the prunable parameters to remove, 0 to 0.95 (or 50%)', ratio)
    .option('--steps <n>', 'steps in all', wholeNumber)
    .option('--warmup-steps <n>', 'steps over which the scheduled sparsity rises to the target', wholeNumber)
    .addOption(new Option('--schedule <shape>', 'how it rises: linear or cubic').argParser(choice(SCHEDULES)))
    .option('--seed <n>', 'of the random numbers and the data order', bigNumber)
    .option('--lora-lr <rate>', 'learning rate of LoRA; falls linearly to 0', number)
    .option('--mask-lr <rate>', 'learning rate of the masks', number)
    .option('--lambda-lr <rate>', 'learning rate of the Lagrangian multipliers, or of the price that tracking adapts', number)
    .addOption(
      new Option(
        '--sparsity-control <rule>',
        'tracking (each step ends at its scheduled sparsity) or multipliers (as published; slow in short runs)',
      ).argParser(choice(SPARSITY_CONTROLS)),
    )
    .option('--clip-norm <norm>', "largest norm of LoRA's gradient", number)
    .option('--layer-loss-weight <w>', 'weight of the layer outputs in the distillation loss', number)
    .option('--kl-loss-weight <w>', 'weight of the predictions in the distillation loss', number)
    .option('--temperature <t>', 'of the predictions that are compared', number)
    .option('--snapshot-interval <share>', 'expected sparsity between two teachers', ratio)
    .option('--teacher-gap <marks>', 'how many marks back the instructing teacher is', wholeNumber)
    .option('--segment-steps <n>', 'longest stretch between two recorded states', wholeNumber);
}

/** Fixed for the life of a run and its forks. */
export function addModelOptions(command: Command): Command {
  return command
    .option('--batch-size <n>', 'sequences in a step', wholeNumber)
    .option('--sequence-length <tokens>', 'tokens of a training sequence', wholeNumber)
    .option('--lora-rank <r>', 'rank of LoRA', wholeNumber)
    .option('--lora-alpha <a>', 'scale of LoRA, over the rank', number)
    .option(
      '--lora-targets <names>',
      'which layers get LoRA, with commas: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj',
      list,
    )
    .addOption(new Option('--dtype <type>', 'to compute in: bf16 or f32').argParser(choice(DTYPES)))
    .option('--dense', 'compute closed units too (for comparisons; the result is the same)')
    .option('--checkpoint-activations', 'less memory, more time')
    .option('--evaluation-window <tokens>', 'length of the windows that perplexity is taken over', windowTokens);
}

/** Understood, so that the server can say why they are refused, but not offered. */
export function addFixedOptions(command: Command): Command {
  const known = command.options.length;
  addModelOptions(command).option('--preset <name>', 'as in launch');
  for (const option of command.options.slice(known)) option.hideHelp();
  return command;
}

export function toSettings(flags: SettingsFlags): v1.RunSettings {
  return v1.RunSettings.fromPartial({
    preset: flags.preset ?? '',
    recipe: flags.recipe ?? v1.Recipe.RECIPE_UNSPECIFIED,
    targetSparsity: flags.targetSparsity,
    totalSteps: flags.steps,
    warmupSteps: flags.warmupSteps,
    schedule: flags.schedule ?? v1.ScheduleShape.SCHEDULE_SHAPE_UNSPECIFIED,
    seed: flags.seed,
    batchSize: flags.batchSize,
    sequenceLength: flags.sequenceLength,
    loraLearningRate: flags.loraLr,
    maskLearningRate: flags.maskLr,
    lambdaLearningRate: flags.lambdaLr,
    sparsityControl: flags.sparsityControl ?? v1.SparsityControl.SPARSITY_CONTROL_UNSPECIFIED,
    gradientClipNorm: flags.clipNorm,
    layerLossWeight: flags.layerLossWeight,
    klLossWeight: flags.klLossWeight,
    temperature: flags.temperature,
    loraRank: flags.loraRank,
    loraAlpha: flags.loraAlpha,
    loraTargets: flags.loraTargets ?? [],
    snapshotInterval: flags.snapshotInterval,
    teacherGapMarks: flags.teacherGap,
    segmentSteps: flags.segmentSteps,
    computeDtype: flags.dtype ?? v1.ComputeDtype.COMPUTE_DTYPE_UNSPECIFIED,
    denseSteps: flags.dense ?? false,
    checkpointActivations: flags.checkpointActivations ?? false,
    evaluationWindow: flags.evaluationWindow,
  });
}

export function toOverrides(flags: SettingsFlags, data: v1.DataSource | undefined): v1.ForkOverrides {
  return v1.ForkOverrides.fromPartial({
    targetSparsity: flags.targetSparsity,
    totalSteps: flags.steps,
    warmupSteps: flags.warmupSteps,
    schedule: flags.schedule ?? v1.ScheduleShape.SCHEDULE_SHAPE_UNSPECIFIED,
    recipe: flags.recipe ?? v1.Recipe.RECIPE_UNSPECIFIED,
    loraLearningRate: flags.loraLr,
    maskLearningRate: flags.maskLr,
    lambdaLearningRate: flags.lambdaLr,
    sparsityControl: flags.sparsityControl ?? v1.SparsityControl.SPARSITY_CONTROL_UNSPECIFIED,
    gradientClipNorm: flags.clipNorm,
    layerLossWeight: flags.layerLossWeight,
    klLossWeight: flags.klLossWeight,
    temperature: flags.temperature,
    snapshotInterval: flags.snapshotInterval,
    teacherGapMarks: flags.teacherGap,
    seed: flags.seed,
    segmentSteps: flags.segmentSteps,
    data,
  });
}

/** What a fork can't change, if any was named: for the server to refuse. */
export function fixedSettings(flags: SettingsFlags): v1.RunSettings | undefined {
  const fixed: SettingsFlags = {
    ...pick(flags, [
      'preset',
      'batchSize',
      'sequenceLength',
      'loraRank',
      'loraAlpha',
      'loraTargets',
      'dtype',
      'dense',
      'checkpointActivations',
      'evaluationWindow',
    ]),
  };
  return Object.keys(fixed).length === 0 ? undefined : toSettings(fixed);
}

function pick<T extends object>(from: T, keys: (keyof T)[]): Partial<T> {
  const picked: Partial<T> = {};
  for (const key of keys) if (from[key] !== undefined) picked[key] = from[key];
  return picked;
}

// The command eval: perplexity or tasks of a run, a teacher, an export or the intact model.
import { resolve } from 'node:path';
import { pathWords } from '#hub';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { requireFilePlace, writeFileWhole } from '../../output/result-files.js';
import { evaluateRun, evaluateTasks } from '../../engine-calls.js';
import { HubFiles } from '../../options/hub-files.js';
import { MODEL_OPTION } from '../../options/model-option.js';
import { absolutePath, choice, dataPath, names, shareBelowOne, wholeNumber, windowTokens } from '../../options/parse.js';
import { folderOfTasks } from '../../options/task-files.js';
import { typedOption } from '../../options/typed-values.js';
import { measured, subjectWords } from '../../output/evaluation-words.js';
import { count, decimal, duration } from '../../output/format.js';
import type { Output } from '../../output/output.js';
import { areSamples, samplesOf } from '../../output/samples.js';
import { ShareLine } from '../../progress/share-line.js';
import { action, examples } from '../command.js';

interface EvaluateOptions {
  model?: string;
  teacher?: number[];
  intact?: boolean;
  export?: string[];
  last?: boolean;
  unstructured?: 'magnitude' | 'wanda';
  sparsity?: number;
  data?: string;
  textColumn?: string;
  window?: number;
  tokens?: number;
  tasks?: string[];
  taskData?: string;
  limit?: number;
  samples?: string;
  force?: boolean;
  compute?: 'f32' | 'bf16';
}

/** The evaluated model, in the form that requests name it. */
type Subject = Pick<v1.EvaluateRunRequest, 'modelPath' | 'teacherMark' | 'intact' | 'exportDigest' | 'unstructured'>;

export function registerEvaluate(program: Command): void {
  const evaluate = program
    .command('eval')
    .argument('[run]', 'its id, the first 4 or more characters of it, or its name; left out with --model')
    .summary('perplexity or tasks of a run, its teachers, exports, or the intact model')
    .description(
      'Evaluates the last state of a run, with deterministic masks: perplexity on its validation text, or tasks as lm-evaluation-harness ' +
        'has them (docs/tasks.md). The values are recorded in its history. Its perplexity remains the result of the run. With --model ' +
        'the values are recorded under the digest of the weights.',
    )
    .option(MODEL_OPTION[0], `a model without a run: ${MODEL_OPTION[1]}`, MODEL_OPTION[2])
    .option('--teacher <marks>', 'these teachers instead (20 or 20,30)', marks)
    .option('--intact', 'the model before pruning instead')
    .option('--export <digests>', 'exported models of the run instead (4 or more digits of a digest)', names)
    .option(
      '--unstructured <method>',
      'the model before pruning with single weights set to 0, chosen by magnitude or wanda: a baseline that makes nothing smaller',
      choice({ magnitude: 'magnitude', wanda: 'wanda' } as const),
    )
    .addOption(typedOption(new Option('--sparsity <share>', "how many of them (0.5 or 50%; the run's target)"), shareBelowOne))
    .option('--last', 'the last state as well, beside the models of the options above')
    .option('--data <path>', 'perplexity on other text', dataPath)
    .option('--text-column <name>', "the field or column of --data that holds the text (default: that of the run's own text)")
    .option('--window <tokens>', 'length of the windows that perplexity is taken over', windowTokens)
    .addOption(
      typedOption(new Option('--tokens <n>', 'the first N tokens of the text; 0: all (default: as the run measured itself)'), wholeNumber),
    )
    .option('--tasks <names>', 'tasks instead of perplexity, or files that declare one (my.yaml)', names)
    .option(
      '--task-data <folder>',
      'holds a folder for each task, with JSON Lines or Parquet (default: fetched from the hub)',
      absolutePath,
    )
    .option('--limit <n>', 'only the first N questions of each task (each subject of mmlu, each part of bbh)', atLeastOne)
    .option('--samples <file>', 'write the result of each question, as JSON Lines', absolutePath)
    .option('--force', 'replace earlier samples there')
    .option('--compute <type>', 'products of tasks in f32 (default) or bf16', choice({ f32: 'f32', bf16: 'bf16' } as const));
  examples(
    evaluate,
    ['espalier eval k3f9'],
    ['espalier eval k3f9 --teacher 30 --data other.jsonl'],
    ['espalier eval k3f9 --unstructured wanda --sparsity 50%'],
    ['espalier eval --model HuggingFaceTB/SmolLM2-135M --tasks seven', 'a model without a run'],
    ['espalier eval k3f9 --tasks boolq,piqa,mmlu --task-data data/'],
    ['espalier eval k3f9 --intact --teacher 20,30 --last --tasks seven --task-data data/'],
  );
  action<EvaluateOptions>(evaluate, async (context, [runId], options) => {
    requireFitting(options);
    requireRunOrModel(runId, options);
    if (options.data !== undefined) options.data = await new HubFiles(context).text(options.data);
    const { model } = options;
    const subjects = model === undefined ? subjectsOf(options) : [subjectOf({ modelPath: await new HubFiles(context).model(model) })];
    if (options.tasks !== undefined) return byTasks(context, runId ?? '', subjects, options);
    return byPerplexity(context, runId ?? '', subjects, options);
  });
}

const marks = (text: string): number[] => names(text).map(wholeNumber);

function atLeastOne(text: string): number {
  const value = wholeNumber(text);
  if (value < 1) throw new InvalidArgumentError('A whole number of 1 or more is allowed.');
  return value;
}

function requireFitting(options: EvaluateOptions): void {
  const refuse = (field: string, message: string): never => {
    throw new CliError('OPTIONS_CONFLICT', message, { field, exitCode: ExitCode.usage });
  };
  const flags = { taskData: '--task-data', limit: '--limit', samples: '--samples', force: '--force', compute: '--compute' } as const;
  if (options.textColumn !== undefined && options.data === undefined)
    refuse('--text-column', '--text-column is for --data, which is not given');
  if (options.sparsity !== undefined && options.unstructured === undefined)
    refuse('--sparsity', '--sparsity is for --unstructured, which is not given');
  if (options.tasks === undefined) {
    for (const [name, flag] of Object.entries(flags))
      if (options[name as keyof typeof flags] !== undefined) refuse(flag, `${flag} is for --tasks, which is not given`);
    return;
  }
  if (options.data !== undefined) refuse('--data', '--data is text for perplexity; the data of tasks are in --task-data');
  if (options.unstructured !== undefined) refuse('--unstructured', '--unstructured is for perplexity only');
  if (options.window !== undefined) refuse('--window', '--window is for perplexity; tasks have none');
  if (options.tokens !== undefined) refuse('--tokens', '--tokens is for perplexity; tasks have --limit');
  if (options.force === true && options.samples === undefined) refuse('--force', '--force is for --samples, which is not given');
}

const subjectOf = (subject: Partial<Subject>): Subject => ({
  modelPath: '',
  teacherMark: undefined,
  intact: false,
  exportDigest: '',
  unstructured: undefined,
  ...subject,
});

/** Options that name a model of a run. */
const RUN_FLAGS = {
  teacher: '--teacher',
  intact: '--intact',
  export: '--export',
  unstructured: '--unstructured',
  last: '--last',
  samples: '--samples',
} as const;

function requireRunOrModel(runId: string | undefined, options: EvaluateOptions): void {
  const refuse = (field: string, message: string): never => {
    throw new CliError('OPTIONS_CONFLICT', message, { field, exitCode: ExitCode.usage });
  };
  if (options.model === undefined) {
    if (runId === undefined) refuse('RUN', 'a run is needed, or --model with a model');
    return;
  }
  if (runId !== undefined) refuse('--model', '--model names a model without a run: leave the run out');
  for (const [name, flag] of Object.entries(RUN_FLAGS))
    if (options[name as keyof typeof RUN_FLAGS] !== undefined) refuse(flag, `${flag} is for a run, and --model has none`);
  if (options.tasks === undefined && options.data === undefined) refuse('--data', '--model needs --data, a text to measure, or --tasks');
}

function subjectsOf({ teacher = [], intact = false, export: digests = [], last = false, ...options }: EvaluateOptions): Subject[] {
  const { unstructured: importance, sparsity } = options;
  const named = [
    ...(intact ? [subjectOf({ intact: true })] : []),
    ...(importance === undefined ? [] : [subjectOf({ unstructured: { importance, sparsity } })]),
    ...teacher.map((teacherMark) => subjectOf({ teacherMark })),
    ...digests.map((exportDigest) => subjectOf({ exportDigest })),
  ];
  return last || named.length === 0 ? [...named, subjectOf({})] : named;
}

async function byPerplexity(
  { connection, output, signal }: Context,
  runId: string,
  subjects: Subject[],
  options: EvaluateOptions,
): Promise<void> {
  const evaluations: v1.Evaluation[] = [];
  const line = new ShareLine(output, 'evaluating');
  try {
    for (const [index, subject] of subjects.entries()) {
      const { data: dataPath = '', textColumn = '', window = 0, tokens } = options;
      const request = { runId, ...subject, dataPath, textColumn, window, tokens };
      const onProgress = (share: number, waitingFor: string): void => line.update((index + share) / subjects.length, waitingFor);
      evaluations.push(await evaluateRun(connection, request, onProgress, signal));
    }
  } finally {
    line.end();
  }
  const [only, ...others] = evaluations;
  output.result(others.length === 0 ? only : evaluations, () => {
    if (only === undefined || others.length > 0) return printTable(output, evaluations, '');
    const { metric, value, n, convention } = measured(only);
    const model = modelWords(subjects) || `${subjectWords(only)}, step ${only.step}`;
    const numerics = only.numericsFingerprint === '' ? '' : ', on other numerics than the training';
    output.text(`${metric} ${output.style('bold', decimal(value))} ` + `(${model}, ${convention}, over ${count(n)}${numerics})`);
  });
}

/** The model that is evaluated without a run, or ''. */
const modelWords = ([subject]: Subject[]): string =>
  subject === undefined || subject.modelPath === '' ? '' : pathWords(subject.modelPath);

async function byTasks(context: Context, runId: string, subjects: Subject[], options: EvaluateOptions): Promise<void> {
  const { connection, output, signal } = context;
  const { samples } = options;
  const tasks = (options.tasks ?? []).map((name) => (/\.ya?ml$/.test(name) ? resolve(name) : name));
  const taskDataPath = options.taskData ?? (await folderOfTasks(context, tasks));
  if (samples !== undefined)
    await requireFilePlace(samples, {
      option: '--samples',
      force: options.force === true,
      what: 'samples that Espalier wrote',
      isOurs: areSamples,
    });
  const evaluations: v1.Evaluation[] = [];
  const line = new ShareLine(output, 'evaluating');
  const eta = remaining();
  try {
    for (const [index, subject] of subjects.entries()) {
      const onProgress = (share: number, waitingFor: string, doing: string): void => {
        const all = (index + share) / subjects.length;
        line.update(all, waitingFor, [doing, eta(all)].filter((words) => words !== '').join(', '));
      };
      const request = {
        runId,
        ...subject,
        tasks,
        taskDataPath,
        limit: options.limit ?? 0,
        computeDtype: options.compute ?? '',
      };
      evaluations.push(...(await evaluateTasks(connection, request, onProgress, signal)));
    }
  } finally {
    line.end();
  }
  if (samples !== undefined) {
    const { run } = await connection.call(connection.runs, connection.runs.getRun, { runId }); // the run may be given by its name
    await writeFileWhole(samples, samplesOf(connection, run.runId, evaluations, signal));
  }
  output.result(evaluations, () => printTable(output, evaluations, modelWords(subjects)));
}

/** Returns a function that estimates the remaining time in words, once enough is done to tell. */
function remaining(): (doneShare: number) => string {
  const started = Date.now();
  return (doneShare) => {
    const seconds = (Date.now() - started) / 1000;
    return doneShare < 0.02 || seconds < 2 ? '' : `${duration((seconds / doneShare) * (1 - doneShare))} left`;
  };
}

/**
 * Prints the evaluations. For one subject each metric has a row; for several, each subject has a column. @param model the name of a model
 * without a run, else empty
 */
function printTable(output: Output, evaluations: v1.Evaluation[], model: string): void {
  const key = ({ task, metric, convention }: v1.Evaluation): string => [task, metric, convention].join('\n');
  const rows = [...new Map(evaluations.map((one) => [key(one), one])).values()];
  const subjects = [...new Set(evaluations.map(subjectWords))];
  const valueOf = (row: v1.Evaluation, subject: string): string => {
    const found = evaluations.find((one) => key(one) === key(row) && subjectWords(one) === subject);
    if (found === undefined) return '-';
    return `${decimal(measured(found).value)}${found.stderr === undefined ? '' : ` ± ${decimal(found.stderr)}`}`;
  };
  const task = (one: v1.Evaluation): string => (one.task === 'text' ? 'text' : one.task);
  const head = [
    'TASK',
    'METRIC',
    ...subjects.map((subject) => (subjects.length === 1 ? 'VALUE' : subject.toUpperCase())),
    'N',
    'CONVENTION',
  ];
  output.table(
    head,
    rows.map((row) => [task(row), row.metric, ...subjects.map((subject) => valueOf(row, subject)), count(measured(row).n), row.convention]),
    [...subjects.map((_, index) => index + 2), subjects.length + 2],
    { CONVENTION: subjects.length > 1 ? 2 : 'wrap', N: 1 },
  );
  if (subjects.length === 1) output.text(model || `${subjects[0]}, step ${evaluations[0]?.step}`);
}

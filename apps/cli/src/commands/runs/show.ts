import { basename } from 'node:path';
import type { Command } from 'commander';
import { budgetWords, gainWords, numericsDifference, reachedWords, replayWords, shareGone } from '#comparison';
import { stepsFrom, v1 } from '#protocol';
import { pathWords } from '#hub';
import type { Context } from '../../command-context.js';
import {
  bar,
  bytes,
  count,
  decimal,
  duration,
  howMany,
  learningLoss,
  percent,
  shortCount,
  shortDigest,
  statusWord,
  teacherWord,
  when,
} from '../../output/format.js';
import { measured, subjectWords } from '../../output/evaluation-words.js';
import { missedTarget, statusStyle, statusText, stepsInAll } from '../../output/run-status.js';
import { etaSeconds, waitWords } from '../../progress/run-line.js';
import { runFileOf } from '../../options/run-file.js';
import { resultWords } from '../../output/result-words.js';
import { printSettings } from '../../output/settings.js';
import { cutTo } from '../../output/text-width.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';
import { inLaunchWords } from './launch-words.js';

export function registerShow(program: Command): void {
  const show = program
    .command('show')
    .argument(...RUN_ARGUMENT)
    .summary('everything about one run')
    .description('Shows a run: its progress, the open part of each layer, evaluations, exports, and its settings.');
  show.option('--yaml', 'only the input of its launch, as a file that launches the same run again');
  examples(
    show,
    ['espalier show k3f9'],
    ['espalier show k3f9 --yaml > run.yaml; espalier launch --config run.yaml'],
    ['espalier show k3f9 --json'],
  );
  action<{ yaml?: boolean }, [string]>(show, async (context, [runId], options) => {
    const { run } = await context.connection.call(context.connection.runs, context.connection.runs.getRun, { runId });
    if (options.yaml && !context.output.json) context.output.line(runFileOf(run).trimEnd());
    else context.output.result(run, () => printRun(context, run));
  });
}

function printRun(context: Context, run: v1.Run): void {
  const { output } = context;
  const room = Math.max(output.terminal.columns - run.runId.length - statusText(run).length - 4, 8);
  const name = run.name === '' ? '' : `  ${cutTo(run.name, room)}`;
  output.line(`${output.style('bold', run.runId)}${name}  ${output.style(statusStyle(run), statusText(run))}`);
  output.pairs([...progressPairs(run), ...originPairs(run), ...enginePairs(run)]);
  printSettings(context, run.settings);
  printLayers(context, run);
  printResults(context, run);
}

function progressPairs(run: v1.Run): [string, string | undefined][] {
  return [
    ...run.damage.map(({ problem, metrics }): [string, string] => [
      'damage',
      metrics ? `${problem}: these steps' metrics are lost` : problem,
    ]),
    [
      'recorded',
      run.status === v1.RunStatus.RUN_STATUS_DAMAGED ? `${statusWord(run.recordedStatus)}, as far as events can be read` : undefined,
    ],
    [
      'deleted',
      run.deletedAt === undefined ? undefined : `${when(run.deletedAt)}${run.deletionReason === '' ? '' : `: ${run.deletionReason}`}`,
    ],
    ['preparing', run.preparation === undefined ? undefined : preparationWords(run.preparation)],
    ['waits for', waitsFor(run)],
    [
      'cause',
      run.waitingFor !== undefined || run.failure === undefined || run.failure.code === ''
        ? undefined
        : `${run.failure.code}: ${inLaunchWords(run.failure.message, run.failure.field)}`,
    ],
    ['step', stepWords(run)],
    [
      'sparsity',
      `${reachedWords(run.hardSparsity, run.budget, 2)} by hard masks, ${percent(run.expectedSparsity, 2)} expected, ` +
        `${percent(run.scheduledSparsity)} scheduled, ${percent(run.settings?.targetSparsity ?? Number.NaN)} target`,
    ],
    ['gone', run.result === undefined ? undefined : `${percent(shareGone(run), 2)} of all parameters, as exported`],
    ['budget', run.budget === undefined ? undefined : budgetWords(run.budget)],
    ['result', run.result === undefined ? undefined : resultWords(run.result, run.settings)],
    ['phase', phaseWords(run)],
    ['target', targetWords(run)],
    ['teachers', `${run.teacherCount}; ${teacherWord(run.teacher)} instructs`],
    ['loss', lossWords(run)],
    ['training', `${duration(run.trainingSeconds)}${run.tokensPerSecond > 0 ? `, ${shortCount(run.tokensPerSecond)} tokens/s` : ''}`],
    ['engine time', run.engineSeconds === 0 ? undefined : duration(run.engineSeconds)],
    ['priority', run.priority === 0 ? undefined : String(run.priority)],
    ['skipped', run.skippedSteps > 0 ? `${howMany(run.skippedSteps, 'step')}, values not finite` : undefined],
  ];
}

function waitsFor({ runId, status, waitingFor, queuedFor }: v1.Run): string | undefined {
  if (waitingFor !== undefined) return waitWords(waitingFor);
  if (queuedFor !== '') return queuedFor;
  return status === v1.RunStatus.RUN_STATUS_PAUSED ? `a user; go on with: espalier resume ${runId}` : undefined;
}

function stepWords(run: v1.Run): string {
  const eta = etaSeconds({ run, latest: run.liveMetrics });
  const done = run.liveStep > run.step ? ` recorded, ${run.liveStep} done` : '';
  const left = Number.isFinite(eta) ? `, about ${duration(eta)} left` : '';
  return `${run.step} of ${stepsInAll(run) ?? '-'}${done}${left}`;
}

function preparationWords({ doing, doneShare }: v1.Preparation): string {
  return doing === '' ? 'when a server takes it up' : `${doing}${doneShare > 0 ? `, ${percent(doneShare)} of the text is done` : ''}`;
}

/** Describes the current phase of a run whose plan has several phases. */
function phaseWords({ phases, phase }: v1.Run): string | undefined {
  if (phases.length < 2) return undefined;
  const words = phases.map(({ kind, firstStep, endStep }) => `${kind} (${stepsFrom(firstStep, endStep)})`);
  return `${phase}; the plan: ${words.join(', then ')}`;
}

function targetWords(run: v1.Run): string | undefined {
  const first = run.targetReachedStep < 0n ? undefined : `reached at step ${run.targetReachedStep}`;
  if (!missedTarget(run)) return first;
  const ended = `${percent(run.hardSparsity)} of ${percent(run.settings?.targetSparsity ?? Number.NaN)}`;
  return `missed: pruning ended at ${ended}${first === undefined ? '' : `, though ${first}`}`;
}

/** Describes the loss of the last recorded step, and of the last step that is done. */
function lossWords({ lastStep, liveMetrics }: v1.Run): string | undefined {
  const recorded = lastStep === undefined ? [] : [`${decimal(learningLoss(lastStep))} at step ${lastStep.step + 1n}, recorded`];
  const live = liveMetrics === undefined ? [] : [`${decimal(learningLoss(liveMetrics))} at step ${liveMetrics.step + 1n}, done`];
  const words = [...recorded, ...live];
  return words.length === 0 ? undefined : words.join('; ');
}

function originPairs(run: v1.Run): [string, string | undefined][] {
  return [
    ['tags', run.tags.join(', ')],
    ['note', run.note],
    ['model', pathWords(run.modelPath)],
    [
      'parameters',
      run.parameterCount > 0n ? `${count(run.parameterCount)}, ${count(run.prunableParameterCount)} of them prunable` : undefined,
    ],
    ['data', run.data === undefined ? undefined : dataText(run.data)],
    ['forked from', run.parentRunId === '' ? undefined : `${run.parentRunId} at step ${run.forkedAtStep}`],
    ['rewinds', run.rewinds > 0 ? String(run.rewinds) : undefined],
  ];
}

function dataText(data: v1.DataSource): string {
  const validation = [data.validationPath, ...data.moreValidationPaths].filter((path) => path !== '');
  return [
    trainWords(data).join(', '),
    ...(data.textColumn === '' ? [] : [`column ${data.textColumn}`]),
    ...(data.responseOnly ? ['responses only'] : []),
    ...(data.maxTrainTokens === 0n ? [] : [`at most ${count(data.maxTrainTokens)} tokens`]),
    ...(validation.length === 0 ? [] : [`validation ${validation.map(pathWords).join(', ')}`]),
    ...(data.validationTextColumn ? [`column ${data.validationTextColumn} of it`] : []),
    ...(data.maxValidationTokens === 0n ? [] : [`at most ${count(data.maxValidationTokens)} tokens of it`]),
  ].join(', ');
}

function trainWords({ trainPath, moreTrainPaths, trainWeights }: v1.DataSource): string[] {
  const paths = [trainPath, ...moreTrainPaths].map(pathWords);
  return paths.map((path, index) => (trainWeights[index] === undefined ? path : `${percent(trainWeights[index])} ${path}`));
}

function launchWords({ launchedAt, launchedBy, launchedByName, endedAt }: v1.Run): string {
  const by = launchedBy === '' ? '' : ` by ${launchedByName || launchedBy}`;
  return `${when(launchedAt)}${by}${endedAt === undefined ? '' : `, ended ${when(endedAt)}`}`;
}

function enginePairs(run: v1.Run): [string, string | undefined][] {
  return [
    ['engine', run.engine],
    ['attempt', run.attempt > 1 || run.restarts > 0 ? `${run.attempt}, ${howMany(run.restarts, 'restart')}` : undefined],
    ['numerics', run.numericsFingerprint],
    ['state', shortDigest(run.stateDigest)],
    ['computed twice', run.replays === undefined || run.step === 0n ? undefined : replayWords(run.replays, run.step - run.forkedAtStep)],
    ['launched', launchWords(run)],
  ];
}

function printLayers({ output }: Context, run: v1.Run): void {
  if (run.layers.length === 0) return;
  output.line();
  const drawn = (open: number, all: number) => bar(all === 0 ? 0 : open / all, 12, output.terminal.unicode);
  const hasKeys = run.layers.some(({ kvHeads }) => kvHeads !== undefined);
  output.table(
    ['LAYER', 'HEADS', '', ...(hasKeys ? ['KEYS'] : []), 'UNITS', ''],
    run.layers.map((layer, index) => [
      String(index),
      `${layer.headsOpen}/${layer.heads}`,
      drawn(layer.headsOpen, layer.heads),
      ...(hasKeys ? [`${layer.kvHeadsOpen}/${layer.kvHeads}`] : []),
      `${layer.unitsOpen}/${layer.units}`,
      drawn(layer.unitsOpen, layer.units),
    ]),
    hasKeys ? [0, 1, 3, 4] : [0, 1, 3],
  );
  output.line(`hidden ${run.hiddenOpen}/${run.hiddenSize}`);
}

function printResults({ output }: Context, run: v1.Run): void {
  const evaluations = [...run.modelEvaluations, ...run.evaluations];
  if (evaluations.length > 0) {
    output.line();
    output.table(
      ['EVALUATED', 'METRIC', 'VALUE', 'STDERR', 'STEP', 'N', 'CONVENTION', 'TEXT', 'NOTE', 'AT'],
      evaluations.map((evaluation) => [
        subjectWords(evaluation),
        measured(evaluation).metric,
        decimal(measured(evaluation).value),
        evaluation.stderr === undefined ? '' : decimal(evaluation.stderr),
        String(evaluation.step),
        count(measured(evaluation).n),
        measured(evaluation).convention,
        textWords(evaluation, run),
        noteWords(evaluation, evaluation.headline ? output.style('green', "the run's own") : ''),
        when(evaluation.evaluatedAt),
      ]),
      [2, 3, 4, 5],
      { EVALUATED: 'wrap', TEXT: 'wrap', NOTE: 'wrap', AT: 4, N: 3, CONVENTION: conventionsTellApart(evaluations) ? 'wrap' : 2 },
    );
  }
  for (const numerics of new Set(evaluations.map(({ numericsFingerprint }) => numericsFingerprint)))
    if (numerics !== '')
      output.text(`other numerics: its engine differs from the training's in the ${numericsDifference(run.numericsFingerprint, numerics)}`);
  const speeds = run.speeds.filter(({ teacherMark }) => teacherMark === undefined); // ladder measures each teacher
  if (speeds.length > 0) {
    output.line();
    output.table(
      ['SPEED OF', 'PREFILL', 'DECODE', 'BATCH', 'PROMPT', 'DTYPE', 'ON', 'STEP', 'NOTE', 'AT'],
      speeds.map((one) => [
        subjectWords(one),
        gainWords(one.prefill),
        gainWords(one.decode),
        count(one.batch),
        count(one.promptTokens),
        one.computeDtype,
        `${one.backend} ${one.device} (${howMany(one.threads, 'thread')})`,
        String(one.step),
        abandonedWords(one),
        when(one.measuredAt),
      ]),
      [3, 4, 7],
      { 'SPEED OF': 'wrap', ON: 'wrap', PREFILL: 'wrap', DECODE: 'wrap', NOTE: 'wrap', AT: 4 },
    );
  }
  if (run.modelSpeeds.length > 0) {
    output.line();
    output.table(
      ['INTACT MODEL ALONE', 'PREFILL', 'DECODE', 'BATCH', 'PROMPT', 'DTYPE', 'AT'],
      run.modelSpeeds.map((one) => [
        `${one.backend} ${one.device} (${howMany(one.threads, 'thread')})`,
        `${decimal(one.prefillSeconds * 1e3, 2)} ms`,
        `${count(Math.round(one.batch / one.passSeconds))} tokens/s`,
        count(one.batch),
        count(one.promptTokens),
        one.computeDtype,
        when(one.measuredAt),
      ]),
      [1, 2, 3, 4],
      { 'INTACT MODEL ALONE': 'wrap', AT: 4 },
    );
  }
  if (run.exports.length > 0) {
    output.line();
    output.table(
      ['EXPORT', 'FORMAT', 'DTYPE', 'PARAMETERS', 'SIZE', 'STEP', 'NOTE', 'AT'],
      run.exports.map((one) => [
        shortDigest(one.digest),
        one.format === '' ? one.form : one.format,
        one.dtype || 'as source',
        count(one.parameterCount),
        bytes(one.bytes),
        String(one.step),
        abandonedWords(one),
        when(one.exportedAt),
      ]),
      [3, 4, 5],
      { AT: 4, DTYPE: 3, PARAMETERS: 2, NOTE: 'wrap' },
    );
  }
}

/** Tells whether some evaluations differ in their convention alone, such as the length of the windows. */
function conventionsTellApart(evaluations: readonly v1.Evaluation[]): boolean {
  const rest = (one: v1.Evaluation) => [subjectWords(one), measured(one).metric, one.dataDigest, one.stateDigest].join('\n');
  const withConvention = (one: v1.Evaluation) => `${rest(one)}\n${measured(one).convention}`;
  return new Set(evaluations.map(withConvention)).size > new Set(evaluations.map(rest)).size;
}

/** Names the text of an evaluation: the run's own validation text, or another one. A digest tells apart how much of a text was read. */
function textWords({ dataPath, dataDigest }: v1.Evaluation, run: v1.Run): string {
  if (dataPath === '') return shortDigest(dataDigest);
  const isOwn = dataPath === run.data?.validationPath;
  const readOnce = run.evaluations.every((one) => one.dataPath !== dataPath || one.dataDigest === dataDigest);
  if (isOwn && readOnce) return 'validation';
  return `${isOwn ? 'validation' : basename(dataPath)} (${shortDigest(dataDigest)})`;
}

function noteWords(evaluation: v1.Evaluation, own: string): string {
  const notes = [own, abandonedWords(evaluation), evaluation.numericsFingerprint === '' ? '' : 'other numerics'];
  return notes.filter((note) => note !== '').join(', ');
}

const abandonedWords = ({ abandoned }: { abandoned: boolean }): string => (abandoned ? 'abandoned branch' : '');

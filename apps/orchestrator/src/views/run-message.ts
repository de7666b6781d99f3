// Turns a RunSummary into the Run of the public protocol.
import { replaySummary, type ReplayedSteps } from '#audit';
import { hasMissedTarget, ofEachLoss } from '#comparison';
import { counted, settingsMessageOfRun, v1 } from '#protocol';
import { isPerplexity, windowOf } from '../pruning-run/record/measures.js';
import type { DataIdentity, RunSettings, StateFact, TeacherChoice } from '../pruning-run/record/pruning-run.events.js';
import type { StepMeasurement } from '../pruning-run/record/steps-measured.js';
import { headlineOf } from '../pruning-run/aggregate/headline.js';
import { commandToGoOn } from '../pruning-run/record/obstacles.js';
import {
  isFinished,
  isPrepared,
  waitsForSteps,
  type RecordedEvaluation,
  type RecordedExport,
  RecordedSpeed,
} from '../pruning-run/aggregate/pruning-run.js';
import { settingsToChoose } from '../pruning-run/method/run-settings.js';
import { endStepOf, lossesAt, needsTeacher } from '../pruning-run/method/phases.js';
import { sizeOf, type ResultSize } from '../pruning-run/planning/result-size.js';
import { engineSecondsAt } from '../pruning-run/aggregate/engine-time.js';
import type { LivePreparation, LiveWait } from '../live/live-steps.js';
import { isDamaged, startIsLost, type RunSummary } from './projection/run-detail.js';
import { leaseUntilMs, shownStatus, statusNumber } from './run-status.js';
import { budgetOfRun } from './budget-message.js';

function dataMessage(data: DataIdentity): v1.DataSource {
  return {
    trainPath: data.trainPath,
    validationPath: data.validationPath ?? '',
    moreTrainPaths: data.moreTrainPaths ?? [],
    trainWeights: data.trainParts?.map((part) => part / 1_000_000) ?? [],
    moreValidationPaths: data.moreValidationPaths ?? [],
    textColumn: data.textColumn ?? '',
    responseOnly: data.responseOnly ?? false,
    validationTextColumn: data.validationTextColumn,
    withoutValidation: false,
    maxTrainTokens: BigInt(data.maxTrainTokens ?? 0),
    maxValidationTokens: BigInt(data.maxValidationTokens ?? 0),
  };
}

/**
 * @param live steps that the engine has reported since the last recorded one
 * @param wait the cause that the run waits for now, or null
 * @param preparation the present work on a run that is not prepared yet, or null
 * @param queuedFor what the run waits for if it is queued
 */
export function runMessage(
  summary: RunSummary,
  heardAtMs: number | null,
  nowMs: number,
  live: readonly StepMeasurement[] = [],
  wait: LiveWait | null = null,
  preparation: LivePreparation | null = null,
  queuedFor = '',
): v1.Run {
  const { run, extras, teacherCount } = summary;
  const { current, engine, origin } = run;
  const lease = leaseUntilMs(run, heardAtMs);
  const status = isDamaged(extras) ? v1.RunStatus.RUN_STATUS_DAMAGED : shownStatus(run, heardAtMs, nowMs);
  const waitingFor = waitMessage(run, wait);
  const size = sizeOf(run);
  const { tokensPerSecond, etaSeconds } = speedOf(summary, live);
  return {
    runId: run.runId,
    name: run.name,
    tags: run.tags,
    note: run.note,
    status,
    failure: run.failure ?? undefined,
    modelPath: run.model.path,
    weightsDigest: run.model.weightsDigest,
    data: dataMessage(run.data),
    settings: startIsLost(extras) ? undefined : settingsMessageOfRun(run.settings, settingsToChoose(run.settings, run.following)),
    phases: (waitsForSteps(run) ? [] : run.phases).map(({ kind, firstStep, endStep }) => ({
      kind,
      firstStep: BigInt(firstStep),
      endStep: BigInt(endStep),
    })),
    phase: run.phase,
    stepsToChoose: waitsForSteps(run),
    step: BigInt(current?.step ?? 0),
    scheduledSparsity: run.scheduledSparsity,
    expectedSparsity: current?.expectedSparsity ?? 0,
    hardSparsity: current?.hardSparsity ?? 0,
    teacher: run.assignment === null ? undefined : teacherRef(run.assignment.teacher),
    teacherCount,
    stateDigest: current?.stateDigest ?? '',
    layers: layersMessage(summary, current),
    hiddenOpen: current?.hiddenOpen ?? run.model.hiddenSize,
    hiddenSize: run.model.hiddenSize,
    result: size === null ? undefined : resultMessage(size),
    budget: budgetOfRun(run),
    parameterCount: BigInt(run.model.parameterCount),
    prunableParameterCount: BigInt(run.model.prunableParameterCount),
    evaluations: run.evaluations.map((one) => evaluationMessage(run, one)),
    speeds: run.speeds.map(measuredSpeedMessage),
    modelEvaluations: [],
    modelSpeeds: [],
    exports: run.exports.map(exportMessage),
    parentRunId: origin?.parentRunId ?? '',
    forkedAtStep: BigInt(origin?.from.step ?? 0),
    forkedFromStateDigest: origin?.from.stateDigest ?? '',
    priority: run.priority,
    engineSeconds: engineSecondsAt(run, nowMs),
    attempt: run.attempt,
    restarts: run.restarts,
    engine:
      engine === null
        ? ''
        : `${engine.backend} ${engine.device} (${counted(engine.threads, 'thread')}), ${engine.engineVersion} ${engine.engineBuild}`,
    engineName: engine?.engineName ?? '',
    numericsFingerprint: run.numericsFingerprint ?? '',
    launchedAt: dateOf(run.launchedAt),
    launchedBy: run.launchedBy ?? '',
    launchedByName: run.launchedByName ?? '',
    queuedFor: status === v1.RunStatus.RUN_STATUS_QUEUED && waitingFor === undefined ? queuedFor : '',
    updatedAt: dateOf(run.updatedAt),
    endedAt: dateOf(run.endedAt),
    trainingSeconds: run.trainingSeconds,
    tokensPerSecond,
    etaSeconds: status === v1.RunStatus.RUN_STATUS_TRAINING && waitingFor === undefined ? etaSeconds : 0,
    skippedSteps: run.skippedSteps,
    lastStep: extras.lastStep === null ? undefined : stepMessage(extras.lastStep, run.settings),
    revision: BigInt(run.revision),
    digestChain: run.chain,
    rewinds: extras.rewinds.length,
    replays: replaysMessage(run.replays),
    targetReachedAt: dateOf(run.targetReachedAt),
    targetReachedStep: BigInt(run.targetReachedStep ?? -1),
    engineLeaseUntil: lease === null ? undefined : new Date(lease),
    damage: extras.damage.map((one) => ({ ...one, revision: BigInt(one.revision) })),
    recordedStatus: statusNumber(run.status),
    targetMissed: missedTarget(run),
    liveStep: BigInt(Math.max(current?.step ?? 0, (live.at(-1)?.step ?? -1) + 1)),
    liveMetrics: live.length === 0 ? undefined : stepMessage(live.at(-1)!, run.settings),
    waitingFor,
    deletedAt: dateOf(run.deleted?.at ?? null),
    deletionReason: run.deleted?.reason ?? '',
    preparation: isPrepared(run) || run.status !== 'preparing' ? undefined : (preparation ?? { doing: '', doneShare: 0 }),
  };
}

export function replaysMessage(replays: readonly ReplayedSteps[]): v1.Replays {
  const { agreeing, byOtherEngine, differing, engines } = replaySummary(replays);
  return { agreeing: BigInt(agreeing), byOtherEngine: BigInt(byOtherEngine), differing: BigInt(differing), engines };
}

function missedTarget({ status, current, settings: { targetSparsity } }: RunSummary['run']): boolean {
  return current !== null && hasMissedTarget({ completed: status === 'completed', hardSparsity: current.hardSparsity, targetSparsity });
}

export const resultMessage = ({ parameterCount, multiplicationShare, estimated, bytes }: ResultSize): v1.ResultEstimate => ({
  parameterCount: BigInt(parameterCount),
  multiplicationShare,
  estimated,
  bytes: BigInt(bytes),
});

function waitMessage(run: RunSummary['run'], wait: LiveWait | null): v1.Wait | undefined {
  if (run.pausedBy === 'obstacle' && run.status === 'paused' && run.failure !== null) {
    const { code, message } = run.failure;
    return { code, message, command: commandToGoOn(run.runId, run.failure), since: dateOf(run.updatedAt) };
  }
  if (wait === null || isFinished(run) || (run.status === 'paused' && run.pausedBy !== 'shutdown')) return undefined;
  return { code: wait.code, message: wait.message, command: '', since: new Date(wait.sinceMs) };
}

function layersMessage({ run }: RunSummary, current: StateFact | null): v1.LayerShape[] {
  return run.model.layers.map(({ heads, units }, layer) => ({
    heads,
    units,
    headsOpen: current?.headsOpen[layer] ?? heads,
    unitsOpen: current?.unitsOpen[layer] ?? units,
    kvHeads: run.model.kvHeads,
    kvHeadsOpen: current?.kvHeadsOpen?.[layer] ?? run.model.kvHeads,
  }));
}

/**
 * The speed and the remaining time, from the last segments. Before the first segment they follow from the steps that are not recorded yet.
 * A run that does not train has no remaining time, since its end depends on when it goes on.
 */
export function speedOf({ run, extras }: RunSummary, live: readonly StepMeasurement[]): { tokensPerSecond: number; etaSeconds: number } {
  const sum = { seconds: 0, tokens: 0, steps: 0 };
  for (const segment of extras.recent) {
    sum.seconds += segment.seconds;
    sum.tokens += segment.tokens;
    sum.steps += segment.steps;
  }
  if (sum.steps === 0 && run.status === 'training') {
    for (const { seconds } of live) sum.seconds += seconds;
    sum.steps = live.length;
    sum.tokens = live.length * run.settings.batchSize * run.settings.sequenceLength;
  }
  const trains = run.status === 'training' && !isDamaged(extras);
  const stepsLeft = trains ? endStepOf(run.settings) - (run.current?.step ?? 0) : 0;
  return {
    tokensPerSecond: sum.seconds > 0 ? sum.tokens / sum.seconds : 0,
    etaSeconds: sum.steps > 0 ? (stepsLeft * sum.seconds) / sum.steps : 0,
  };
}

function teacherRef(choice: TeacherChoice): v1.TeacherRef {
  if (choice.kind === 'snapshot') return { teacher: { $case: 'mark', value: choice.mark } };
  return { teacher: choice.kind === 'none' ? { $case: 'none', value: true } : { $case: 'intact', value: true } };
}

/** A loss that was not finite is NaN in the message, with `skipped` set. */
export function stepMessage(step: StepMeasurement, settings: RunSettings): v1.StepMetrics {
  return {
    step: BigInt(step.step),
    loss: step.loss ?? NaN,
    ...ofEachLoss((name) => step[name] ?? undefined),
    lagrangian: step.lagrangian ?? NaN,
    scheduledSparsity: step.scheduledSparsity,
    expectedSparsity: step.expectedSparsity,
    gradientNorm: step.gradientNorm ?? NaN,
    lambda1: step.lambda1,
    lambda2: step.lambda2,
    seconds: step.seconds,
    skipped: step.skipped,
    teacher:
      step.teacherMark !== null
        ? { teacher: { $case: 'mark', value: step.teacherMark } }
        : { teacher: needsTeacher(lossesAt(settings, step.step)) ? { $case: 'intact', value: true } : { $case: 'none', value: true } },
  };
}

export function evaluationMessage(
  run: Pick<RunSummary['run'], 'current' | 'data' | 'settings' | 'evaluations'>,
  fact: RecordedEvaluation,
): v1.Evaluation {
  const ownData = fact.dataDigest === run.data.validationDigest;
  return {
    ...factMessage(fact),
    ...(ownData ? { dataPath: run.data.validationPath ?? '' } : {}),
    headline: fact === headlineOf(run),
    // A run that was rewound can reach the same state again.
    abandoned: fact.abandoned && fact.stateDigest !== run.current?.stateDigest,
  };
}

/** An evaluation by itself, of whatever model. */
export function factMessage(fact: Omit<RecordedEvaluation, 'abandoned'>): v1.Evaluation {
  const { subject, task, metric, value, stderr, n, convention, step, at, dataDigest, dataPath, stateDigest, teacherMark } = fact;
  const { digests, samplesDigest, details, numericsFingerprint } = fact;
  const perplexity = isPerplexity(fact);
  return {
    subject,
    task,
    metric,
    value,
    stderr: stderr ?? undefined,
    n: BigInt(n),
    convention,
    perplexity: perplexity ? value : 0,
    negativeLogLikelihood: perplexity ? (fact.details['negativeLogLikelihood'] ?? Math.log(value)) : 0,
    predictions: BigInt(perplexity ? n : 0),
    step: BigInt(step),
    window: windowOf(fact),
    evaluatedAt: dateOf(at),
    teacherMark: teacherMark ?? undefined,
    stateDigest: stateDigest ?? '',
    dataDigest,
    dataPath: dataPath ?? '',
    digests,
    samplesDigest: samplesDigest ?? '',
    details,
    numericsFingerprint: numericsFingerprint ?? '',
    headline: false,
    abandoned: false,
  };
}

function measuredSpeedMessage({ step, at, teacherMark, promptTokens, ...fact }: RecordedSpeed): v1.MeasuredSpeed {
  return { ...fact, step: BigInt(step), measuredAt: dateOf(at), teacherMark: teacherMark ?? undefined, promptTokens };
}

export function exportMessage(fact: RecordedExport): v1.ModelExport {
  const { step, stateDigest, abandoned } = fact;
  return { ...exportFactMessage(fact), step: BigInt(step), stateDigest, abandoned };
}

/** An export by itself, of whatever model. */
export function exportFactMessage(fact: Omit<RecordedExport, 'step' | 'stateDigest' | 'teacherMark' | 'abandoned'>): v1.ModelExport {
  const { exportDigest, form, dtype, parameterCount, bytes, files, at, made, proof } = fact;
  return {
    digest: exportDigest,
    form,
    dtype,
    parameterCount: BigInt(parameterCount),
    bytes: BigInt(bytes),
    step: 0n,
    stateDigest: '',
    files: files.map(({ name }) => name),
    exportedAt: dateOf(at),
    abandoned: false,
    format: made.format,
    architecture: made.architecture,
    contextLength: BigInt(made.contextLength),
    hiddenSize: BigInt(made.hiddenSize),
    layers: made.layers.map(({ heads, kvHeads, units }) => ({
      heads: BigInt(heads),
      kvHeads: BigInt(kvHeads),
      units: BigInt(units),
    })),
    notes: made.notes,
    proof: proof && {
      ...proof,
      predictions: BigInt(proof.predictions),
      loaders: proof.loaders.map((one) => ({ ...one, negativeLogLikelihood: one.negativeLogLikelihood ?? 0 })),
    },
    multipleOf: made.multipleOf,
  };
}

export function dateOf(iso: string | null): Date | undefined {
  return iso === null || iso === '' ? undefined : new Date(iso);
}

// The line that people see for each event.
import { gainWords, isOffTarget, numericsDifference, targetWords, timeWords } from '#comparison';
import { counted, settingOfName, stepsFrom, type SettingName } from '#protocol';
import type {
  DiscardedArtifact,
  PruningRunEventData,
  PruningRunEventType,
  RecordedEvent,
  RefitOutcome,
  ScannedForm,
  StateFact,
  TeacherChoice,
} from '../pruning-run/record/pruning-run.events.js';
import { measureName } from '../pruning-run/record/measures.js';

export function summarize(event: RecordedEvent): string {
  if (event.type === 'Unknown') return `event of a type this release does not know: ${event.storedType}`;
  const line: (data: never) => string = LINES[event.type];
  try {
    return line(event.data as never);
  } catch {
    return 'an event that does not have the fields of its type';
  }
}

const percent = (ratio: number): string => `${(ratio * 100).toFixed(1)}%`;
const short = (digest: string | null): string => (digest === null ? 'none' : digest.slice(0, 12));
const number = (value: number | null): string => (value === null ? 'none' : value.toPrecision(5));
const state = ({ step, expectedSparsity, hardSparsity, stateDigest }: StateFact): string =>
  `step ${step}, expected sparsity ${percent(expectedSparsity)}, by hard masks ${percent(hardSparsity)}, state ${short(stateDigest)}`;

function teacherText(teacher: TeacherChoice): string {
  if (teacher.kind === 'snapshot') return `teacher ${teacher.mark} (${short(teacher.stateDigest)})`;
  return teacher.kind === 'intact' ? 'the intact model' : 'no teacher';
}

/** Such as "the refit before them stayed: loss 3.21 with it, 3.4 without, summed over its batches". */
function refitWords({ kept, lossBefore, lossAfter }: RefitOutcome): string {
  const stayed = kept ? 'the refit before them stayed' : 'the refit before them was undone';
  return `${stayed}: loss ${number(lossAfter)} with it, ${number(lossBefore)} without, summed over its batches`;
}

function discardWords(artifacts: DiscardedArtifact[]): string {
  const bytes = artifacts.reduce((sum, one) => sum + (one.bytes ?? 0), 0);
  return `${counted(artifacts.length, 'artifact')} (${(bytes / 2 ** 20).toFixed(1)} MiB)`;
}

/** The line of each event. */
const LINES: { [T in PruningRunEventType]: (data: PruningRunEventData<T>) => string } = {
  RunLaunched: ({ name, model, settings }) => {
    const then = settings.recoverSteps > 0 ? `, then ${counted(settings.recoverSteps, 'step')} of recovery` : '';
    const steps = settings.time > 0 ? `in ${timeWords(settings.time)}` : `in ${counted(settings.totalSteps, 'step')}${then}`;
    return `launched ${name === '' ? '' : `${name}: `}${model.path} to ${targetWords(settings, 1)} ${steps}, recipe ${settings.recipe}`;
  },
  RunForked: ({ parentRunId, teacherMark, from }) =>
    `forked from ${parentRunId}, ${teacherMark === null ? 'last state' : `teacher ${teacherMark}`}, at ${state(from)}`,
  RunPrepared: ({ model, data }) =>
    `prepared: model ${short(model.weightsDigest)}, ${data.trainTokens} tokens ${short(data.trainDigest)} to train on, ` +
    `${data.validationTokens} to evaluate on`,
  AttemptStarted: (data) => `attempt ${data.attempt} started from step ${data.fromStep}`,
  StepsChosen: ({ settings, rates, spentSeconds, expectedSeconds }) => {
    const steps = Object.entries(settings).map(([name, value]) => `${settingOfName(name as SettingName).field} ${String(value)}`);
    const each = Object.entries({ ...rates } as Record<string, number>);
    const measured = each.flatMap(([name, value]) => (value === 0 ? [] : [`${name} ${number(value)} s`])).join(', ');
    return `${steps.join(', ')} fit ${number(expectedSeconds)} s, ${number(spentSeconds)} s of them spent; measured ${measured}`;
  },
  EngineAttached: ({ attempt, engineName, backend, device, threads, numericsFingerprint, numericsChangedFrom, evaluatesOnly }) => {
    const name = engineName === '' ? '' : `${engineName}, `;
    const changed = numericsChangedFrom === null ? '' : `, changed: ${numericsDifference(numericsChangedFrom, numericsFingerprint)}`;
    const use = evaluatesOnly ? '; it only evaluates, since all steps are done' : '';
    return (
      `attempt ${attempt}: engine ${name}${backend} on ${device}, ${counted(threads, 'thread')}, ` +
      `numerics of ${/sources [0-9a-f]+/.exec(numericsFingerprint)?.[0] ?? short(numericsFingerprint)}${changed}${use}`
    );
  },
  TeacherAssigned: (data) => `${teacherText(data.teacher)} instructs from step ${data.fromStep} on: ${data.explanation}`,
  PhaseStarted: ({ phase, fromStep, endStep, masksDigest }) =>
    `phase ${phase}, ${stepsFrom(fromStep, endStep)}, masks ${short(masksDigest)} frozen`,
  SparsityAdvanced: ({ step, scheduledSparsity, expectedSparsity }) =>
    `step ${step}: scheduled sparsity ${percent(scheduledSparsity)}, expected ${percent(expectedSparsity)}`,
  MasksUpdated: ({ firstStep, state: after, loss, trainingSeconds, refit }) => {
    const done = `${stepsFrom(firstStep, after.step)} done in ${trainingSeconds.toFixed(1)} s, mean loss ${number(loss.mean)}`;
    return `${done}: ${state(after)}${refit === undefined ? '' : `; ${refitWords(refit)}`}`;
  },
  LayerScanned: ({ layer, forms }) => {
    const [attention = [], mlp = []] = [true, false].map((wanted) => forms.filter((form) => form.attention === wanted));
    const without = (form: ScannedForm | undefined): string => (form === undefined ? '' : number(form.kl));
    return (
      `layer ${layer}: ${counted(attention.length, 'form')} of attention and ${mlp.length} of the MLP scored; ` +
      `without them the predictions move by ${without(attention.at(-1))} and ${without(mlp.at(-1))} nats a token`
    );
  },
  TeacherSnapshotted: (data) => `teacher ${data.mark} snapshotted at ${state(data.state)}`,
  StepsReplayed: ({ cause, engineName, isOtherEngine, tolerance, stretches }) => {
    const why = cause === 'verification' ? 'computed again by a verification' : 'trained again after a rewind';
    const by = engineName === '' ? 'a process of the server' : `engine ${engineName}`;
    const other = isOtherEngine ? ', another than the one that trained them' : '';
    const steps = counted(
      stretches.reduce((sum, { firstStep, endStep }) => sum + endStep - firstStep, 0),
      'step',
    );
    const differing = stretches.filter(({ agrees }) => !agrees).map(({ firstStep, endStep }) => stepsFrom(firstStep, endStep));
    const equal = tolerance === null ? 'equal bits' : `equal within ${tolerance}`;
    return `${steps} ${why} on ${by}${other}: ${differing.length === 0 ? equal : `${differing.join(', ')} differ from the record`}`;
  },
  TargetSparsityReached: ({ step, targetSparsity, remainingSteps }) =>
    `target ${percent(targetSparsity)} reached at step ${step}, ${counted(remainingSteps, 'step remains', 'steps remain')}`,
  StepsSkipped: (data) => `steps skipped, loss or gradient not finite: ${data.steps.join(', ')}`,
  EngineLost: ({ attempt, cause, code, message, restartDelayMs }) =>
    `attempt ${attempt} lost its ${cause}: ${code}, ${message}; next try in ${restartDelayMs} ms`,
  RunPauseRequested: (data) => `pause requested at step ${data.step}`,
  RunPaused: (data) =>
    `paused at step ${data.step} (${data.by})` + (data.cause === undefined ? '' : `: ${data.cause.code}, ${data.cause.message}`),
  RunResumed: (data) => `resumed from step ${data.fromStep}`,
  RunRewound: ({ toStep, teacherMark, abandonedFromRevision }) =>
    `rewound to ${teacherMark !== null ? `teacher ${teacherMark}` : toStep === 0 ? 'the start' : 'an earlier state'} ` +
    `at step ${toStep}; events from revision ${abandonedFromRevision} on are an abandoned branch`,
  RunCompleted: ({ step, hardSparsity, targetSparsity, stateDigest }) => {
    const missed = isOffTarget(hardSparsity, targetSparsity);
    const target = missed ? `; the target of ${percent(targetSparsity)} was missed` : '';
    return `completed at step ${step}: sparsity by hard masks ${percent(hardSparsity)}, state ${short(stateDigest)}${target}`;
  },
  RunFailed: (data) => `failed at step ${data.step}: ${data.code}, ${data.message}`,
  RunCancelled: (data) => `cancelled at step ${data.step}${data.reason === '' ? '' : `: ${data.reason}`}`,
  EvaluationRecorded: (data) => {
    const { subject, step, value, stderr, n, convention, teacherMark, dataDigest, dataPath, numericsFingerprint } = data;
    const what = teacherMark === null ? subject : `${subject}, teacher ${teacherMark},`;
    const off = stderr === null ? '' : ` ± ${number(stderr)}`;
    const on = `(over ${n}, ${convention}, data ${dataPath ?? short(dataDigest)})`;
    const by = numericsFingerprint === undefined ? '' : ", on other numerics than the training's";
    return `${measureName(data)} of ${what} at step ${step}: ${number(value)}${off} ${on}${by}`;
  },
  RunPrioritized: ({ priority }) => `priority ${priority}`,
  RunDescribed: ({ name, addedTags, removedTags, note }) => {
    const words = [
      ...(name === undefined ? [] : [name === '' ? 'no name any more' : `named ${name}`]),
      ...(addedTags.length === 0 ? [] : [`tagged ${addedTags.join(', ')}`]),
      ...(removedTags.length === 0 ? [] : [`no longer tagged ${removedTags.join(', ')}`]),
      ...(note === undefined ? [] : [note === '' ? 'note removed' : `note: ${note}`]),
    ];
    return words.join('; ');
  },
  ArtifactsDiscarded: ({ keepEvery, artifacts, reason }) => {
    const kept =
      keepEvery === null ? '' : `; one teacher in ${keepEvery} stays, and so do the states that forks, exports and the last state need`;
    return `${discardWords(artifacts)} thrown away${kept}${reason === '' ? '' : `: ${reason}`}`;
  },
  RunDeleted: (data) => `deleted, with ${discardWords(data.artifacts)}${data.reason === '' ? '' : `: ${data.reason}`}`,
  SpeedRecorded: ({ subject, step, teacherMark, prefill, decode, batch, promptTokens, computeDtype, backend, device }) => {
    const what = teacherMark === null ? subject : `${subject}, teacher ${teacherMark},`;
    const under = `batch ${batch}, prompts of ${counted(promptTokens, 'token')}, ${computeDtype}, on ${backend} ${device}`;
    return `speed of ${what} at step ${step}: prefill ${gainWords(prefill)}, decode ${gainWords(decode)} (${under})`;
  },
  ModelExported: ({ made, dtype, parameterCount, exportDigest }) =>
    `exported ${made.format}, ${dtype || 'dtype as the source'}, ${parameterCount} parameters, as ${short(exportDigest)}`,
};

// The line that people see for each event.
import { gainWords, isOffTarget, numericsDifference, targetWords, timeWords } from '#comparison';
import { counted, settingOfName, stepsFrom, type SettingName } from '#protocol';
import type { DiscardedArtifact, RecordedEvent, RefitOutcome, StateFact, TeacherChoice } from '../pruning-run/record/pruning-run.events.js';
import { measureName } from '../pruning-run/record/measures.js';

export function summarize(event: RecordedEvent): string {
  try {
    return lineOf(event);
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

function lineOf(event: RecordedEvent): string {
  switch (event.type) {
    case 'Unknown':
      return `event of a type this release does not know: ${event.storedType}`;
    case 'RunLaunched': {
      const { model, settings } = event.data;
      const then = settings.recoverSteps > 0 ? `, then ${counted(settings.recoverSteps, 'step')} of recovery` : '';
      const steps = settings.time > 0 ? `in ${timeWords(settings.time)}` : `in ${counted(settings.totalSteps, 'step')}${then}`;
      return `launched ${event.data.name}: ${model.path} to ${targetWords(settings, 1)} ${steps}, recipe ${settings.recipe}`;
    }
    case 'RunForked': {
      const { parentRunId, teacherMark, from } = event.data;
      return `forked from ${parentRunId}, ${teacherMark === null ? 'last state' : `teacher ${teacherMark}`}, at ${state(from)}`;
    }
    case 'RunPrepared': {
      const { model, data } = event.data;
      return (
        `prepared: model ${short(model.weightsDigest)}, ${data.trainTokens} tokens ${short(data.trainDigest)} to train on, ` +
        `${data.validationTokens} to evaluate on`
      );
    }
    case 'AttemptStarted':
      return `attempt ${event.data.attempt} started from step ${event.data.fromStep}`;
    case 'StepsChosen': {
      const { settings, rates, spentSeconds, expectedSeconds } = event.data;
      const steps = Object.entries(settings).map(([name, value]) => `${settingOfName(name as SettingName).field} ${String(value)}`);
      const each = Object.entries({ ...rates } as Record<string, number>);
      const measured = each.flatMap(([name, value]) => (value === 0 ? [] : [`${name} ${number(value)} s`])).join(', ');
      return `${steps.join(', ')} fit ${number(expectedSeconds)} s, ${number(spentSeconds)} s of them spent; measured ${measured}`;
    }
    case 'EngineAttached': {
      const { attempt, engineName, backend, device, threads, numericsFingerprint, numericsChangedFrom, evaluatesOnly } = event.data;
      const name = engineName === '' ? '' : `${engineName}, `;
      const changed = numericsChangedFrom === null ? '' : `, changed: ${numericsDifference(numericsChangedFrom, numericsFingerprint)}`;
      const use = evaluatesOnly ? '; it only evaluates, since all steps are done' : '';
      return (
        `attempt ${attempt}: engine ${name}${backend} on ${device}, ${counted(threads, 'thread')}, ` +
        `numerics of ${/sources [0-9a-f]+/.exec(numericsFingerprint)?.[0] ?? short(numericsFingerprint)}${changed}${use}`
      );
    }
    case 'TeacherAssigned':
      return `${teacherText(event.data.teacher)} instructs from step ${event.data.fromStep} on: ${event.data.explanation}`;
    case 'PhaseStarted': {
      const { phase, fromStep, endStep, masksDigest } = event.data;
      return `phase ${phase}, ${stepsFrom(fromStep, endStep)}, masks ${short(masksDigest)} frozen`;
    }
    case 'SparsityAdvanced': {
      const { step, scheduledSparsity, expectedSparsity } = event.data;
      return `step ${step}: scheduled sparsity ${percent(scheduledSparsity)}, expected ${percent(expectedSparsity)}`;
    }
    case 'MasksUpdated': {
      const { firstStep, state: after, loss, trainingSeconds, refit } = event.data;
      const done = `${stepsFrom(firstStep, after.step)} done in ${trainingSeconds.toFixed(1)} s, mean loss ${number(loss.mean)}`;
      return `${done}: ${state(after)}${refit === undefined ? '' : `; ${refitWords(refit)}`}`;
    }
    case 'TeacherSnapshotted':
      return `teacher ${event.data.mark} snapshotted at ${state(event.data.state)}`;
    case 'StepsReplayed': {
      const { cause, engineName, isOtherEngine, tolerance, stretches } = event.data;
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
    }
    case 'TargetSparsityReached': {
      const { step, targetSparsity, remainingSteps } = event.data;
      return `target ${percent(targetSparsity)} reached at step ${step}, ${counted(remainingSteps, 'step remains', 'steps remain')}`;
    }
    default:
      return lineOfOutcome(event);
  }
}

/** Such as "the refit before them stayed: loss 3.21 with it, 3.4 without, summed over its batches". */
function refitWords({ kept, lossBefore, lossAfter }: RefitOutcome): string {
  const stayed = kept ? 'the refit before them stayed' : 'the refit before them was undone';
  return `${stayed}: loss ${number(lossAfter)} with it, ${number(lossBefore)} without, summed over its batches`;
}

type Outcome = Exclude<
  RecordedEvent,
  {
    type:
      | 'Unknown'
      | 'RunLaunched'
      | 'RunForked'
      | 'RunPrepared'
      | 'AttemptStarted'
      | 'StepsChosen'
      | 'EngineAttached'
      | 'TeacherAssigned'
      | 'PhaseStarted'
      | 'SparsityAdvanced'
      | 'MasksUpdated'
      | 'TeacherSnapshotted'
      | 'StepsReplayed'
      | 'TargetSparsityReached';
  }
>;

function discardWords(artifacts: DiscardedArtifact[]): string {
  const bytes = artifacts.reduce((sum, one) => sum + (one.bytes ?? 0), 0);
  return `${counted(artifacts.length, 'artifact')} (${(bytes / 2 ** 20).toFixed(1)} MiB)`;
}

function lineOfOutcome(event: Outcome): string {
  switch (event.type) {
    case 'StepsSkipped':
      return `steps skipped, loss or gradient not finite: ${event.data.steps.join(', ')}`;
    case 'EngineLost': {
      const { attempt, cause, code, message, restartDelayMs } = event.data;
      return `attempt ${attempt} lost its ${cause}: ${code}, ${message}; next try in ${restartDelayMs} ms`;
    }
    case 'RunPauseRequested':
      return `pause requested at step ${event.data.step}`;
    case 'RunPaused':
      return (
        `paused at step ${event.data.step} (${event.data.by})` +
        (event.data.cause === undefined ? '' : `: ${event.data.cause.code}, ${event.data.cause.message}`)
      );
    case 'RunResumed':
      return `resumed from step ${event.data.fromStep}`;
    case 'RunRewound': {
      const { toStep, teacherMark, abandonedFromRevision } = event.data;
      return (
        `rewound to ${teacherMark !== null ? `teacher ${teacherMark}` : toStep === 0 ? 'the start' : 'an earlier state'} ` +
        `at step ${toStep}; events from revision ${abandonedFromRevision} on are an abandoned branch`
      );
    }
    case 'RunCompleted': {
      const { step, hardSparsity, targetSparsity, stateDigest } = event.data;
      const missed = isOffTarget(hardSparsity, targetSparsity);
      const target = missed ? `; the target of ${percent(targetSparsity)} was missed` : '';
      return `completed at step ${step}: sparsity by hard masks ${percent(hardSparsity)}, state ${short(stateDigest)}${target}`;
    }
    case 'RunFailed':
      return `failed at step ${event.data.step}: ${event.data.code}, ${event.data.message}`;
    case 'RunCancelled':
      return `cancelled at step ${event.data.step}${event.data.reason === '' ? '' : `: ${event.data.reason}`}`;
    case 'EvaluationRecorded': {
      const { subject, step, value, stderr, n, convention, teacherMark, dataDigest, dataPath, numericsFingerprint } = event.data;
      const what = teacherMark === null ? subject : `${subject}, teacher ${teacherMark},`;
      const off = stderr === null ? '' : ` ± ${number(stderr)}`;
      const on = `(over ${n}, ${convention}, data ${dataPath ?? short(dataDigest)})`;
      const by = numericsFingerprint === undefined ? '' : ", on other numerics than the training's";
      return `${measureName(event.data)} of ${what} at step ${step}: ${number(value)}${off} ${on}${by}`;
    }
    case 'RunDescribed': {
      const { name, addedTags, removedTags, note } = event.data;
      const words = [
        ...(name === undefined ? [] : [name === '' ? 'no name any more' : `named ${name}`]),
        ...(addedTags.length === 0 ? [] : [`tagged ${addedTags.join(', ')}`]),
        ...(removedTags.length === 0 ? [] : [`no longer tagged ${removedTags.join(', ')}`]),
        ...(note === undefined ? [] : [note === '' ? 'note removed' : `note: ${note}`]),
      ];
      return words.join('; ');
    }
    case 'ArtifactsDiscarded': {
      const { keepEvery, artifacts, reason } = event.data;
      const kept =
        keepEvery === null ? '' : `; one teacher in ${keepEvery} stays, and so do the states that forks, exports and the last state need`;
      return `${discardWords(artifacts)} thrown away${kept}${reason === '' ? '' : `: ${reason}`}`;
    }
    case 'RunDeleted':
      return `deleted, with ${discardWords(event.data.artifacts)}${event.data.reason === '' ? '' : `: ${event.data.reason}`}`;
    case 'SpeedRecorded': {
      const { subject, step, teacherMark, prefill, decode, batch, promptTokens, computeDtype, backend, device } = event.data;
      const what = teacherMark === null ? subject : `${subject}, teacher ${teacherMark},`;
      const under = `batch ${batch}, prompts of ${counted(promptTokens, 'token')}, ${computeDtype}, on ${backend} ${device}`;
      return `speed of ${what} at step ${step}: prefill ${gainWords(prefill)}, decode ${gainWords(decode)} (${under})`;
    }
    case 'ModelExported': {
      const { made, dtype, parameterCount, exportDigest } = event.data;
      return `exported ${made.format}, ${dtype || 'dtype as the source'}, ${parameterCount} parameters, as ${short(exportDigest)}`;
    }
  }
}

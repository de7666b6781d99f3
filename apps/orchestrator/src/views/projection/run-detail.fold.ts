// Folds events into a RunDetail by the aggregate's `evolve`. An event that is unknown or does not fit is counted and passed over, since a
// view that stopped at a strange event would show nothing at all.
import type { RecordedEvent } from '../../pruning-run/record/pruning-run.events.js';
import type { StepsMeasured } from '../../pruning-run/record/steps-measured.js';
import { evolve, type PruningRunState } from '../../pruning-run/aggregate/pruning-run.js';
import { eventTypes } from '../../pruning-run/record/event-versions.js';
import { phaseAt } from '../../pruning-run/method/phases.js';
import { resolveSettings } from '../../pruning-run/method/run-settings.js';
import type { DamagedEvent, RunDetail } from './run-detail.js';

const RECENT_SEGMENTS = 8;

/** Returns the detail after the first event of a run, or null where the event starts no run. */
export function startDetail(event: RecordedEvent): RunDetail | null {
  try {
    const run = evolve(null, event);
    if (run === null) return null;
    return detailOf(run);
  } catch {
    return null;
  }
}

function detailOf(run: PruningRunState): RunDetail {
  return { run, extras: { recent: [], lastStep: null, unnamed: [], rewinds: [], unknownEvents: {}, damage: [] } };
}

/** The detail of a run whose first event can't be read. Only its id and the content of later events are known. */
export function detailWithoutStart(runId: string): RunDetail {
  const model = {
    path: '',
    weightsDigest: '',
    architecture: '',
    parameterCount: 0,
    prunableParameterCount: 0,
    weightBytes: 0,
    hiddenSize: 0,
    layers: [],
    vocabularySize: 0,
    maxPositions: 0,
  };
  const data = {
    trainPath: '',
    trainDigest: '',
    trainTokens: 0,
    validationPath: null,
    validationDigest: null,
    validationTokens: 0,
    tokenizerDigest: '',
  };
  const launch = { runId, name: '', requestId: '', requestDigest: '', model, data, settings: resolveSettings({}) };
  return detailOf({
    ...evolve(null, { type: 'RunLaunched', at: '', v: eventTypes.versionOf('RunLaunched'), chain: '', data: launch })!,
    status: 'queued',
    revision: -1,
  });
}

/** Notes an event that can't be read or is missing. An event that is noted twice counts once. */
export function foldDamage(detail: RunDetail, event: DamagedEvent): void {
  const { damage } = detail.extras;
  const known = damage.findIndex(({ metrics, revision }) => metrics === event.metrics && revision === event.revision);
  if (known >= 0) damage[known] = event;
  else damage.push(event);
  if (!event.metrics) detail.run = { ...detail.run, revision: Math.max(detail.run.revision, event.revision) };
}

/** Folds an event into `detail`. Returns false if the event was passed over. */
export function foldEvent(detail: RunDetail, event: RecordedEvent, revision: number): boolean {
  const before = detail.run;
  let known = event.type !== 'Unknown';
  try {
    detail.run = evolve(before, event);
    if (event.type === 'Unknown') countUnknown(detail, event.storedType);
    else foldExtras(detail, event, revision);
  } catch {
    known = false;
    detail.run = { ...before, chain: event.chain };
    countUnknown(detail, event.type === 'Unknown' ? event.storedType : event.type);
  }
  detail.run.revision = revision;
  return known;
}

function countUnknown(detail: RunDetail, type: string): void {
  detail.extras.unknownEvents[type] = (detail.extras.unknownEvents[type] ?? 0) + 1;
}

function foldExtras({ extras, run }: RunDetail, event: RecordedEvent, revision: number): void {
  if (event.type === 'AttemptStarted') {
    extras.unnamed = []; // they belong to an attempt that was given up
  } else if (event.type === 'EngineAttached') {
    extras.recent = []; // another engine has another speed
  } else if (event.type === 'MasksUpdated') {
    const { trainingSeconds, tokens, state, firstStep, metricsRevision } = event.data;
    extras.recent.push({ seconds: trainingSeconds, tokens, steps: state.step - firstStep });
    if (extras.recent.length > RECENT_SEGMENTS) extras.recent.shift();
    // A step of the next phase takes another time. That of a recipe that prunes at once takes many times as long as one of recovery.
    if (phaseAt(run.settings, firstStep).kind !== phaseAt(run.settings, state.step).kind) extras.recent = [];
    const measured = extras.unnamed.find((one) => one.metricsRevision === metricsRevision);
    if (measured !== undefined) extras.lastStep = measured.step;
    extras.unnamed = extras.unnamed.filter((one) => one.metricsRevision > metricsRevision);
  } else if (event.type === 'RunRewound') {
    const { toStep, abandonedFromRevision } = event.data;
    extras.rewinds.push({ toStep, abandonedFromRevision, revision });
    if (extras.lastStep !== null && extras.lastStep.step >= toStep) extras.lastStep = null;
  }
}

/** Notes a batch of the metrics stream. It counts once a MasksUpdated names it. */
export function foldMeasured(detail: RunDetail, measured: StepsMeasured, metricsRevision: number): void {
  const step = measured.steps.at(-1);
  if (step !== undefined) detail.extras.unnamed.push({ metricsRevision, step });
}

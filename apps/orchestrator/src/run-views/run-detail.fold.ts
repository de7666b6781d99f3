// Events to RunDetail, by the aggregate's evolve. An event that is unknown or does not fit is counted and passed over:
// a view that stopped at a strange event would show nothing at all.
import type { RecordedEvent, StepsMeasured } from '../pruning-run/pruning-run.events.js';
import { evolve } from '../pruning-run/pruning-run.js';
import type { RunDetail, RunExtras } from './run-detail.js';

const RECENT_SEGMENTS = 8;

/** The first event of a run; null when it is none that starts one. */
export function startDetail(event: RecordedEvent): RunDetail | null {
  try {
    const run = evolve(null, event);
    if (run === null) return null;
    return { run, extras: { recent: [], lastStep: null, lastMeasured: null, rewinds: [], unknownEvents: {} } };
  } catch {
    return null;
  }
}

/** Changes `detail`; false when the event was passed over. */
export function foldEvent(detail: RunDetail, event: RecordedEvent, revision: number): boolean {
  const before = detail.run;
  let known = event.type !== 'Unknown';
  try {
    detail.run = evolve(before, event);
    if (event.type === 'Unknown') countUnknown(detail, event.storedType);
    else foldExtras(detail.extras, event, revision);
  } catch {
    known = false;
    detail.run = { ...before, chain: event.chain };
    countUnknown(detail, event.type === 'Unknown' ? event.storedType : event.type);
  }
  detail.run.revision = revision;
  return known;
}

export function countUnknown(detail: RunDetail, type: string): void {
  detail.extras.unknownEvents[type] = (detail.extras.unknownEvents[type] ?? 0) + 1;
}

function foldExtras(extras: RunExtras, event: RecordedEvent, revision: number): void {
  if (event.type === 'EngineAttached') {
    extras.recent = []; // another engine, another speed
  } else if (event.type === 'MasksUpdated') {
    const { trainingSeconds, tokens, state, firstStep, metricsRevision } = event.data;
    extras.recent.push({ seconds: trainingSeconds, tokens, steps: state.step - firstStep });
    if (extras.recent.length > RECENT_SEGMENTS) extras.recent.shift();
    if (extras.lastMeasured?.metricsRevision === metricsRevision) extras.lastStep = extras.lastMeasured.step;
    extras.lastMeasured = null;
  } else if (event.type === 'RunRewound') {
    const { toStep, abandonedFromRevision } = event.data;
    extras.rewinds.push({ toStep, abandonedFromRevision, revision });
    if (extras.lastStep !== null && extras.lastStep.step >= toStep) extras.lastStep = null;
  }
}

/** A batch of the metrics stream; it counts once a MasksUpdated names it. */
export function foldMeasured(detail: RunDetail, measured: StepsMeasured, metricsRevision: number): void {
  const step = measured.steps.at(-1);
  if (step !== undefined) detail.extras.lastMeasured = { metricsRevision, step };
}

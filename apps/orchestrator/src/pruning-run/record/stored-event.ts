// The names of a run's streams, and its facts as stored bytes.
import type { NewEvent, StoredEvent } from '#event-store';
import { canonicalJson } from '../../event-sourcing/canonical-json.js';
import * as codec from '../../event-sourcing/event-codec.js';
import { eventTypes } from './event-versions.js';
import type { NewFact, PruningRunEvent, RecordedEvent } from './pruning-run.events.js';
import type { StepsMeasured } from './steps-measured.js';

export { CHAIN_START, chainProblem } from '../../event-sourcing/event-codec.js';

export const RUN_STREAM_PREFIX = 'pruningRun-';
export const METRICS_STREAM_PREFIX = 'runMetrics-';
export const runStream = (runId: string): string => RUN_STREAM_PREFIX + runId;
/** Returns the run's id from the name of its stream. */
export const runIdOf = ({ stream }: { stream: string }): string => stream.slice(RUN_STREAM_PREFIX.length);
export const metricsStream = (runId: string): string => METRICS_STREAM_PREFIX + runId;

/** Links facts to the chain, and gives each the id of its position. */
export function encodeFacts(
  facts: NewFact[],
  previousChain: string,
  idOf: (index: number, fact: NewFact) => string,
): { stored: NewEvent[]; events: PruningRunEvent[] } {
  return codec.encodeFacts<NewFact>(eventTypes, facts, previousChain, idOf);
}

const decoded = new WeakMap<object, RecordedEvent>();

/** Reads the event once for all readers that get the same object. @throws SyntaxError when the bytes are not a JSON object */
export function decodeStored(stored: Pick<StoredEvent, 'type' | 'data'>): RecordedEvent {
  let event = decoded.get(stored);
  if (event === undefined) decoded.set(stored, (event = codec.decodeStored(eventTypes, stored) as RecordedEvent));
  return event;
}

export function encodeStepsMeasured(measured: StepsMeasured, id: string): NewEvent {
  return { id, type: 'StepsMeasured', data: Buffer.from(canonicalJson(measured)) };
}

export function decodeStepsMeasured(stored: Pick<StoredEvent, 'data'>): StepsMeasured {
  return codec.parseObject(stored.data) as unknown as StepsMeasured;
}

// The life of a run on the clock, and the steps that were computed twice, from the stored events.
import { timestampMs } from '@bufbuild/protobuf/wkt';
import type { HistoryEvent } from '../../generated/espalier/v1/history_service_pb.js';
import { storedFact } from '../stored-fact.js';

export const LIFE_EVENTS = [
  ...['RunLaunched', 'RunForked', 'RunPrepared', 'EngineAttached', 'EngineLost', 'RunPaused', 'RunResumed', 'RunRewound'],
  ...['RunCompleted', 'RunFailed', 'RunCancelled', 'StepsReplayed'],
];

/** A time in which an engine had the run. */
export interface Attempt {
  fromMs: number;
  /** Null: it has the run still. */
  toMs: number | null;
  attempt: number;
  engine: string;
  /** How it ended: the type of the event, '' while it goes on. */
  end: string;
}
/** A time in which no engine could have the run: it was paused, or its server was away. */
export interface Gap {
  fromMs: number;
  /** Null: it lasts. */
  toMs: number | null;
  kind: 'paused' | 'away';
}
export interface Happening {
  atMs: number;
  type: string;
  /** The event in the server's words. */
  words: string;
}
/** Steps that were computed again, and compared with the record. */
export interface Stretch {
  firstStep: number;
  endStep: number;
  agrees: boolean;
  engine: string;
  isOther: boolean;
  cause: string;
}

const ENDS = ['EngineLost', 'RunPaused', 'RunCompleted', 'RunFailed', 'RunCancelled'];

type LifeEvent = Pick<HistoryEvent, 'revision' | 'type' | 'dataJson' | 'recordedAt' | 'summary'>;

/**
 * Only after it is back does a server record that an attempt was lost with it. So such an attempt ends with the last event before that.
 * @param lastMsBefore the time of the last event before each of these losses, by the revision of the loss
 */
export function lifeOf(events: readonly LifeEvent[], lastMsBefore: ReadonlyMap<bigint, number>) {
  const [attempts, gaps, happenings]: [Attempt[], Gap[], Happening[]] = [[], [], []];
  for (const event of events) {
    const { type, summary: words, recordedAt, revision } = event;
    if (recordedAt === undefined || type === 'StepsReplayed') continue;
    const atMs = timestampMs(recordedAt);
    const gap = gaps.at(-1);
    if (gap?.toMs === null) gap.toMs = atMs;
    const attached = storedFact(event, 'EngineAttached', ({ attempt, engineName, device }) => ({
      attempt,
      engine: `${engineName}, ${device}`,
    }));
    const seenMs = lastMsBefore.get(revision);
    const last = attempts.at(-1);
    if (last?.toMs === null && (attached !== null || ENDS.includes(type))) Object.assign(last, { toMs: seenMs ?? atMs, end: type });
    if (seenMs !== undefined) gaps.push({ fromMs: seenMs, toMs: atMs, kind: 'away' });
    if (type === 'RunPaused') gaps.push({ fromMs: atMs, toMs: null, kind: 'paused' });
    if (attached !== null) attempts.push({ fromMs: atMs, toMs: null, end: '', ...attached });
    happenings.push({ atMs, type, words });
  }
  return { attempts, gaps, happenings };
}

/** The events that tell that an attempt was lost with its server. */
export const lostWithServer = (events: readonly LifeEvent[]): bigint[] =>
  events.flatMap((event) => storedFact(event, 'EngineLost', ({ cause }) => (cause === 'orchestrator' ? event.revision : undefined)) ?? []);

export const stretchesOf = (events: readonly Pick<HistoryEvent, 'type' | 'dataJson'>[]): Stretch[] =>
  events.flatMap(
    (event) =>
      storedFact(event, 'StepsReplayed', ({ engineName, device, isOtherEngine: isOther, cause, stretches }) =>
        stretches.map(({ firstStep, endStep, agrees }) => {
          return { firstStep, endStep, agrees, engine: `${engineName || 'a process of the server'}, ${device}`, isOther, cause };
        }),
      ) ?? [],
  );

/** Joins neighbours that say the same: a replay compares at each recorded state, and a reader asks which steps it covers. */
export function joined(stretches: readonly Stretch[]): Stretch[] {
  const all: Stretch[] = [];
  for (const one of stretches) {
    const last = all.at(-1);
    const isSame =
      last?.endStep === one.firstStep &&
      last.agrees === one.agrees &&
      last.engine === one.engine &&
      last.isOther === one.isOther &&
      last.cause === one.cause;
    if (isSame) last.endStep = one.endStep;
    else all.push({ ...one });
  }
  return all;
}

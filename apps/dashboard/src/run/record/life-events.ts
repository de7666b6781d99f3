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

type LifeEvent = Pick<HistoryEvent, 'type' | 'dataJson' | 'recordedAt' | 'summary'>;

export function lifeOf(events: readonly LifeEvent[]): { attempts: Attempt[]; happenings: Happening[] } {
  const attempts: Attempt[] = [];
  const happenings: Happening[] = [];
  for (const event of events) {
    const { type, summary: words, recordedAt } = event;
    if (recordedAt === undefined || type === 'StepsReplayed') continue;
    const atMs = timestampMs(recordedAt);
    const attached = storedFact(event, 'EngineAttached', ({ attempt, engineName, device }) => ({
      attempt,
      engine: `${engineName}, ${device}`,
    }));
    const last = attempts.at(-1);
    if (last?.toMs === null && (attached !== null || ENDS.includes(type))) Object.assign(last, { toMs: atMs, end: type });
    if (attached !== null) attempts.push({ fromMs: atMs, toMs: null, end: '', ...attached });
    else happenings.push({ atMs, type, words });
  }
  return { attempts, happenings };
}

export const stretchesOf = (events: readonly Pick<HistoryEvent, 'type' | 'dataJson'>[]): Stretch[] =>
  events.flatMap(
    (event) =>
      storedFact(event, 'StepsReplayed', ({ engineName, isOtherEngine: isOther, cause, stretches }) =>
        stretches.map(({ firstStep, endStep, agrees }) => {
          return { firstStep, endStep, agrees, engine: engineName || 'a process of the server', isOther, cause };
        }),
      ) ?? [],
  );

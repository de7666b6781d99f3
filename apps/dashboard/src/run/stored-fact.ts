import type { HistoryEvent } from '../generated/espalier/v1/history_service_pb.js';

/** The fields of stored events that the page reads. */
interface StoredFacts {
  TeacherAssigned: { fromStep: number; explanation: string; teacher: { kind: string; mark?: number } };
  RunRewound: { toStep?: number };
  EngineAttached: { attempt: number; engineName: string; device: string; resumedFromStep: number };
  EngineLost: { lastStep: number; cause: string };
  RunPaused: { step: number; by: string };
  StepsReplayed: {
    cause: string;
    engineName: string;
    device: string;
    isOtherEngine: boolean;
    stretches: { firstStep: number; endStep: number; agrees: boolean }[];
  };
  MasksUpdated: { state?: { step?: number } };
}

/** Returns the events that still count: not those of branches that a rewind abandoned, and not those that can't be read. */
export const countedEvents = (events: readonly HistoryEvent[]): HistoryEvent[] =>
  events.filter(({ abandoned, damaged }) => !abandoned && !damaged);

/** Returns a value of an event; null where the event lacks the fields that this release knows. */
export function storedFact<Type extends keyof StoredFacts, Value>(
  { type, dataJson }: Pick<HistoryEvent, 'type' | 'dataJson'>,
  wanted: Type,
  of: (data: StoredFacts[Type]) => Value | undefined,
): Value | null {
  try {
    return type === wanted ? (of(JSON.parse(dataJson) as StoredFacts[Type]) ?? null) : null;
  } catch {
    return null;
  }
}

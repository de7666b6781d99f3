import type { HistoryEvent } from '../generated/espalier/v1/history_service_pb.js';

/** The fields of events that the page reads, as they are stored. */
interface StoredFacts {
  TeacherAssigned: { fromStep: number; explanation: string; teacher: { kind: string; mark?: number } };
  RunRewound: { toStep?: number };
  EngineLost: { lastStep: number; cause: string };
  MasksUpdated: { state?: { step?: number } };
}

/** The events that still count: none of a branch that the run was rewound from, and none that can't be read. */
export const countedEvents = (events: readonly HistoryEvent[]): HistoryEvent[] =>
  events.filter(({ abandoned, damaged }) => !abandoned && !damaged);

/** A value of an event; null where the event has other fields than this release knows. */
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

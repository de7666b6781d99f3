import { historyService } from '../api/client.js';
import type { HistoryEvent } from '../generated/espalier/v1/history_service_pb.js';

const PAGE_SIZE = 1_000;

/** Loads all events of some types, in their order. */
export async function readEvents(runId: string, types: string[], signal: AbortSignal): Promise<HistoryEvent[]> {
  const events: HistoryEvent[] = [];
  for (let from: bigint | undefined = 0n; from !== undefined;) {
    const page = await historyService.readHistory({ runId, types, fromRevision: from, pageSize: PAGE_SIZE }, { signal });
    events.push(...page.events);
    from = page.nextRevision;
  }
  return events;
}

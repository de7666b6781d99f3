// The branches that a run was rewound from: where each left the steps that still count, and how far it had come.
import { historyService } from '../api/client.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';

export interface AbandonedBranch {
  fromStep: number;
  endStep: number;
}

export async function loadAbandoned(run: Run, signal: AbortSignal): Promise<AbandonedBranch[]> {
  if (run.rewinds === 0) return [];
  const { runId } = run;
  const { events } = await historyService.readHistory({ runId, types: ['RunRewound'], backwards: true, pageSize: 50 }, { signal });
  const branches = await Promise.all(
    events.map(async ({ revision, dataJson }) => {
      const before = { runId, types: ['MasksUpdated'], fromRevision: revision, backwards: true, pageSize: 1 };
      const [last] = (await historyService.readHistory(before, { signal })).events;
      const fromStep = numberAt(dataJson, (data) => data.toStep);
      const endStep = last === undefined ? null : numberAt(last.dataJson, (data) => data.state?.step);
      return fromStep === null || endStep === null || endStep <= fromStep ? [] : [{ fromStep, endStep }];
    }),
  );
  return branches.flat();
}

interface Stored {
  toStep?: number;
  state?: { step?: number };
}

/** As the event is stored; null where it has other fields than this release knows. */
function numberAt(json: string, of: (data: Stored) => number | undefined): number | null {
  try {
    return of(JSON.parse(json) as Stored) ?? null;
  } catch {
    return null;
  }
}

// Finds the branches that a run was rewound from: the step at which each left the steps that still count, and its last step.
import { historyService } from '../../api/client.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { storedFact } from '../stored-fact.js';

export interface AbandonedBranch {
  fromStep: number;
  endStep: number;
}

export async function loadAbandoned(run: Run, signal: AbortSignal): Promise<AbandonedBranch[]> {
  if (run.rewinds === 0) return [];
  const { runId } = run;
  const { events } = await historyService.readHistory({ runId, types: ['RunRewound'], backwards: true, pageSize: 50 }, { signal });
  const branches = await Promise.all(
    events.map(async (rewound) => {
      const before = { runId, types: ['MasksUpdated'], fromRevision: rewound.revision, backwards: true, pageSize: 1 };
      const [last] = (await historyService.readHistory(before, { signal })).events;
      const fromStep = storedFact(rewound, 'RunRewound', (data) => data.toStep);
      const endStep = last === undefined ? null : storedFact(last, 'MasksUpdated', (data) => data.state?.step);
      return fromStep === null || endStep === null || endStep <= fromStep ? [] : [{ fromStep, endStep }];
    }),
  );
  return branches.flat();
}

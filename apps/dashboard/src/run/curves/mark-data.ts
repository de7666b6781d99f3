// Loads the events of a run that are marked on its curves.
import { runService } from '../../api/client.js';
import { useLoaded } from '../../api/loaded-data.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../../runs/columns.js';
import { stepMarks, type Assignment, type StepMark } from './marks.js';
import { readEvents } from '../read-events.js';
import { countedEvents, storedFact } from '../stored-fact.js';

export function useMarks(run: Run, assignments: readonly Assignment[]): StepMark[] {
  const { data } = useLoaded(`marks ${run.runId}`, (signal) => load(run, signal), `${run.rewinds} ${run.restarts} ${run.status}`);
  if (data === undefined) return [];
  return stepMarks({
    ...data,
    assignments,
    phases: phasesOf(run),
    forkedAtStep: run.parentRunId === '' ? null : Number(run.forkedAtStep),
  });
}

export const phasesOf = ({ phases }: Run): { kind: string; firstStep: number }[] =>
  phases.map(({ kind, firstStep }) => ({ kind, firstStep: Number(firstStep) }));

async function load({ runId }: Run, signal: AbortSignal) {
  const [{ tree }, events] = await Promise.all([
    runService.getLineage({ runId }, { signal }),
    readEvents(runId, ['RunRewound', 'EngineLost'], signal),
  ]);
  const counted = countedEvents(events);
  return {
    forks: tree.filter(({ parentRunId }) => parentRunId === runId).map((node) => ({ name: nameOf(node), step: Number(node.forkedAtStep) })),
    rewinds: counted.flatMap((event) => {
      const toStep = storedFact(event, 'RunRewound', (data) => data.toStep);
      return toStep === null ? [] : [{ toStep }];
    }),
    restarts: counted.flatMap((event) => storedFact(event, 'EngineLost', ({ lastStep, cause }) => ({ lastStep, cause })) ?? []),
  };
}

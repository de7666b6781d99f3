// Finds the teachers of a run, the steps that each taught, and why, from the run's history.
import { gainWords } from '../../../../libs/comparison/src/index.js';
import { artifactService, runService } from '../api/client.js';
import { useLoaded, type Loaded } from '../api/loaded-data.js';
import type { Teacher } from '../generated/espalier/v1/common_pb.js';
import { bytes, teacherWord } from '../ui/format.js';
import type { LineageNode, Run } from '../generated/espalier/v1/run_service_pb.js';
import type { Assignment } from './curves/marks.js';
import { readEvents } from './read-events.js';
import { countedEvents, storedFact } from './stored-fact.js';

export interface Teachers {
  snapshots: Teacher[];
  assignments: Assignment[];
}
export interface LoadedTeachers extends Teachers {
  /** False until the history is loaded. Until then both lists are empty. */
  isKnown: boolean;
  loaded: Loaded<unknown>;
}

type Started = Omit<Assignment, 'endStep'>;

export function useTeachers(run: Run): LoadedTeachers {
  // The history is long, so it is loaded again only when the teachers have changed.
  const version = `${run.teacherCount} ${teacherWord(run.teacher)} ${run.rewinds} ${run.exports.length} ${run.status}`;
  const loaded = useLoaded(`teachers ${run.runId}`, (signal) => loadTeachers(run.runId, signal), version);
  if (loaded.data === undefined) return { snapshots: [], assignments: [], isKnown: false, loaded };
  const { snapshots, assignments } = loaded.data;
  const done = Number(run.step);
  return {
    loaded,
    isKnown: true,
    snapshots,
    assignments: assignments.map((one, index) => ({
      ...one,
      endStep: assignments[index + 1]?.fromStep ?? Math.max(done, one.fromStep + 1),
    })),
  };
}

async function loadTeachers(runId: string, signal: AbortSignal): Promise<{ snapshots: Teacher[]; assignments: Started[] }> {
  const asked = { runId, includeAbandoned: true, includeInherited: true, includeDiscarded: true };
  const { teachers } = await artifactService.listTeachers(asked, { signal });
  const assignments = countedEvents(await readEvents(runId, ['TeacherAssigned'], signal)).flatMap((event): Started[] => {
    const started = storedFact(event, 'TeacherAssigned', ({ fromStep, explanation: why, teacher: { kind, mark = 0 } }): Started => {
      return { fromStep, why, mark: kind === 'snapshot' ? mark : kind === 'intact' ? 0 : null };
    });
    return started === null ? [] : [started];
  });
  return { snapshots: teachers, assignments };
}

/** Loads the runs that were forked from the run. */
export function useForks({ runId }: Run): LineageNode[] {
  const { data } = useLoaded(`forks ${runId}`, async (signal) => (await runService.getLineage({ runId }, { signal })).tree);
  return data?.filter(({ parentRunId }) => parentRunId === runId) ?? [];
}

export const forksAt = (forks: readonly LineageNode[], { step, abandoned }: Teacher): LineageNode[] =>
  forks.filter(({ forkedAtStep }) => forkedAtStep === step && !abandoned);

/** The size of the teacher's export; undefined where it is not known. */
export const exportWords = ({ weightBytes, sizeEstimated }: Teacher): string | undefined =>
  weightBytes > 0n ? `${sizeEstimated ? 'about ' : ''}${bytes(weightBytes)}` : undefined;

/** The measured speed of the teacher as a smaller model, beside the model before pruning; undefined where it was not measured. */
export function decodingWords({ speeds }: Run, { stateDigest }: Teacher): string | undefined {
  const gain = speeds.findLast((one) => one.stateDigest === stateDigest)?.decode;
  return gain === undefined ? undefined : gainWords(gain);
}

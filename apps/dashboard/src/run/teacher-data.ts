// Which teachers a run has, and who instructed from which step on, and why: from its history.
import { artifactService, historyService } from '../api/client.js';
import { useLoaded } from '../api/loaded.js';
import type { Teacher } from '../generated/espalier/v1/common_pb.js';
import { teacherWord } from '../ui/format.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';

export interface Assignment {
  fromStep: number;
  /** The first step that another one instructs. */
  endStep: number;
  /** 0: the intact model; null: nobody. */
  mark: number | null;
  why: string;
}
export interface Teachers {
  snapshots: Teacher[];
  assignments: Assignment[];
}

type Started = Omit<Assignment, 'endStep'>;

const NONE: Teachers = { snapshots: [], assignments: [] };
const PAGE_SIZE = 1_000;

export function useTeachers(run: Run): Teachers {
  // The history is long: it is read again only when the teachers have changed.
  const version = `${run.teacherCount} ${teacherWord(run.teacher)} ${run.rewinds} ${run.exports.length} ${run.status}`;
  const { data } = useLoaded(`teachers ${run.runId}`, (signal) => loadTeachers(run.runId, signal), version);
  if (data === undefined) return NONE;
  const { snapshots, assignments } = data;
  const done = Number(run.step);
  return {
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
  const assignments: Started[] = [];
  for (let from: bigint | undefined = 0n; from !== undefined;) {
    const page = await historyService.readHistory(
      { runId, types: ['TeacherAssigned'], fromRevision: from, pageSize: PAGE_SIZE },
      { signal },
    );
    for (const { dataJson, abandoned, damaged } of page.events) {
      if (abandoned || damaged) continue;
      const data = dataOf(dataJson);
      if (data !== null) assignments.push(data);
    }
    from = page.nextRevision;
  }
  return { snapshots: teachers, assignments };
}

interface Stored {
  fromStep: number;
  explanation: string;
  teacher: { kind: string; mark?: number };
}

/** As the event is stored; null where it has other fields than this release knows. */
function dataOf(json: string): Started | null {
  try {
    const { fromStep, explanation, teacher } = JSON.parse(json) as Stored;
    return { fromStep, why: explanation, mark: teacher.kind === 'snapshot' ? (teacher.mark ?? 0) : teacher.kind === 'intact' ? 0 : null };
  } catch {
    return null;
  }
}

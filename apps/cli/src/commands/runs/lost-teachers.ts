// Warns a user before a run goes on from an earlier state whose teachers gc has removed: they can't teach the run any more.
import { v1 } from '#protocol';
import type { Connection } from '../../connection/connection.js';
import { howMany } from '../../output/format.js';

/** Completes a sentence about steps that are trained again. */
const OTHER_BITS = 'other teachers teach their steps, which then end in other bits';

/** Returns the warning about a thinning; undefined: it removes no teacher that the run's steps could need. */
export function thinningNote({ run, artifacts }: v1.DiscardArtifactsResponse): string | undefined {
  const marks = artifacts.flatMap((one) => one.marks);
  if (marks.length === 0 || run?.settings?.recipe !== v1.Recipe.RECIPE_NUTEPRUNE) return undefined;
  const goesOn = 'when it goes on, is rewound (resume --from-teacher) or forked';
  return `After that the run can't be trained again as it was: ${goesOn} without ${marksText(marks)}, ${OTHER_BITS}.`;
}

/** Returns the warning before a run goes on or is forked; undefined: all its teachers are there. */
export async function lostTeachersNote(connection: Connection, runId: string, from: From): Promise<string | undefined> {
  try {
    const request = { runId, includeInherited: true, includeAbandoned: false, includeDiscarded: false };
    const { teachers } = await connection.call(connection.artifacts, connection.artifacts.listTeachers, request);
    const start = startIn(teachers, from);
    const lost = missingMarks(teachers, start);
    if (lost.length === 0) return undefined;
    const { run } = await connection.call(connection.runs, connection.runs.getRun, { runId });
    if (run?.settings?.recipe !== v1.Recipe.RECIPE_NUTEPRUNE) return undefined;
    const pruningEnds = run.phases.find(({ kind }) => kind === 'prune')?.endStep ?? 0n;
    if ((start?.step ?? run.step) >= pruningEnds) return undefined; // pruning is over at this step, and no teacher is needed after it
    const were = lost.length === 1 ? 'was' : 'were';
    return `${howMany(lost.length, 'teacher')} of the run, ${marksText(lost)}, ${were} thrown away: ${OTHER_BITS}.`;
  } catch {
    return undefined; // the command itself meets the same error and reports it
  }
}

type From = v1.ResumeRunRequest['from'] | v1.ForkRunRequest['from'];

/** Returns the teacher at which the run starts; undefined: it starts from the last state. */
function startIn(teachers: readonly v1.Teacher[], from: From): v1.Teacher | undefined {
  if (from?.$case === 'teacherMark') return teachers.find(({ mark }) => mark === from.value);
  if (from?.$case === 'stateDigest') return teachers.find(({ stateDigest }) => stateDigest.startsWith(from.value));
  return undefined;
}

/**
 * Returns the marks of removed teachers. Marks are numbered from 1, so each missing mark up to the start, or up to the last teacher, was
 * removed.
 */
function missingMarks(teachers: readonly v1.Teacher[], start: v1.Teacher | undefined): number[] {
  const kept = new Set(teachers.map(({ mark }) => mark));
  const last = start?.mark ?? Math.max(0, ...kept);
  return Array.from({ length: last }, (_, index) => index + 1).filter((mark) => !kept.has(mark));
}

const SHOWN_MARKS = 8;

function marksText(marks: readonly number[]): string {
  const shown = marks.slice(0, SHOWN_MARKS).map((mark) => `#${mark}`);
  return `${shown.join(' ')}${marks.length > shown.length ? ` and ${marks.length - shown.length} more` : ''}`;
}

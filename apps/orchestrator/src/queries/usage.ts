// Adds up the engine time of attempts by caller, run or study.
import type { v1 } from '#protocol';
import type { AttemptRow, RunViews } from '../views/run-views.js';

export type UsageBy = 'caller' | 'run' | 'study';

export interface UsageQuestion {
  /** The time in question. An attempt counts with its part of it. */
  fromMs: number;
  untilMs: number;
  by: UsageBy;
  /** The caller whose runs count; '': those of all callers. */
  caller: string;
}

/** The study of a run, or undefined where it has none. */
export type StudyOf = (runId: string) => { studyId: string; name: string } | undefined;

/** Returns the rows with the most time first. */
export function usageRows(
  views: Pick<RunViews, 'attempts' | 'peek'>,
  { fromMs, untilMs, by, caller }: UsageQuestion,
  studyOf: StudyOf,
): v1.UsageRow[] {
  const groups = new Map<string, { latest: AttemptRow; runs: Set<string>; attempts: number; ms: number }>();
  for (const attempt of views.attempts(fromMs, untilMs)) {
    if (caller !== '' && attempt.caller !== caller) continue;
    const ms = Math.max(0, Math.min(attempt.endedMs ?? untilMs, untilMs) - Math.max(attempt.startedMs, fromMs));
    const key = by === 'run' ? attempt.runId : by === 'caller' ? attempt.caller : (studyOf(attempt.runId)?.studyId ?? '');
    const group = groups.get(key) ?? { latest: attempt, runs: new Set(), attempts: 0, ms: 0 };
    groups.set(key, group);
    if (attempt.startedMs >= group.latest.startedMs) group.latest = attempt;
    group.runs.add(attempt.runId);
    group.attempts += 1;
    group.ms += ms;
  }
  const rows = [...groups.values()].map(({ latest, runs, attempts, ms }): v1.UsageRow => {
    const run = views.peek(latest.runId)?.run;
    const study = by === 'study' ? studyOf(latest.runId) : undefined;
    return {
      caller: by === 'study' ? '' : latest.caller,
      callerName: by === 'study' ? '' : (run?.launchedByName ?? ''),
      runId: by === 'run' ? latest.runId : '',
      runName: by === 'run' ? (run?.name ?? '') : '',
      studyId: study?.studyId ?? '',
      studyName: study?.name ?? '',
      runs: runs.size,
      attempts,
      engineSeconds: ms / 1_000,
    };
  });
  const name = (row: v1.UsageRow): string => row.caller + row.runId + row.studyId;
  return rows.sort((left, right) => right.engineSeconds - left.engineSeconds || (name(left) < name(right) ? -1 : 1));
}

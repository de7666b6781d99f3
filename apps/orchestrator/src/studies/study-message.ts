// A study in the words of the public protocol.
import { v1 } from '#protocol';
import { isFinished } from '../pruning-run/aggregate/pruning-run.js';
import type { RunViews } from '../views/run-views.js';
import { waitingRuns, type StudyState } from './study.js';
import { budgetField } from './halving.js';
import { rungTable, studyTable } from './study-figures.js';

/** @param views runs that they don't show yet count as under way */
export function studyMessage(study: StudyState, views: Pick<RunViews, 'peek' | 'message'>, waitingFor: string): v1.Study {
  const { studyId, name, note, atOnce, launchedAt, launchContext, endedAt } = study;
  const counts = { completed: 0, failed: 0, cancelled: 0, underWay: 0 };
  let obstacle = '';
  for (const { runId, refusal } of study.runs) {
    if (refusal !== null) counts.failed += 1;
    if (runId === null) continue;
    const summary = views.peek(runId);
    const status = summary?.run.status ?? 'queued';
    if (status === 'paused' && obstacle === '') obstacle = obstacleOf(views.message(summary!));
    if (!isFinished({ status })) counts.underWay += 1;
    else if (status === 'completed' || status === 'failed') counts[status] += 1;
    else counts.cancelled += 1;
  }
  return {
    studyId,
    name,
    note,
    status: statusOf(study),
    atOnce,
    launchedAt: new Date(launchedAt),
    launchedBy: launchContext?.actor ?? '',
    launchedByName: launchContext?.actorName ?? '',
    endedAt: endedAt === null ? undefined : new Date(endedAt),
    runs: study.runs.length,
    runsWaiting: waitingRuns(study).length,
    runsUnderWay: counts.underWay,
    runsCompleted: counts.completed,
    runsFailed: counts.failed,
    runsCancelled: counts.cancelled,
    waitingFor: waitingFor === '' ? obstacle : waitingFor,
    halving: study.halving === null ? undefined : { ...study.halving, setting: budgetField(study.halving) },
  };
}

/** The obstacle of a run in words, or ''. The study does not end before it is removed. */
function obstacleOf({ runId, waitingFor }: v1.Run): string {
  if (waitingFor === undefined || waitingFor.command === '') return '';
  return `run ${runId} (${waitingFor.code}: ${waitingFor.message}); go on with: ${waitingFor.command}`;
}

function statusOf({ cancelled, endedAt }: StudyState): v1.StudyStatus {
  if (cancelled !== null) return v1.StudyStatus.STUDY_STATUS_CANCELLED;
  return endedAt === null ? v1.StudyStatus.STUDY_STATUS_RUNNING : v1.StudyStatus.STUDY_STATUS_COMPLETED;
}

export function studyDetail(study: StudyState, views: Pick<RunViews, 'peek' | 'message'>, waitingFor: string): v1.GetStudyResponse {
  const runs = study.runs.map((planned) => {
    const summary = planned.runId === null ? null : views.peek(planned.runId);
    return { planned, run: summary === null ? null : views.message(summary) };
  });
  return { study: studyMessage(study, views, waitingFor), ...studyTable(runs), rungs: rungTable(study) };
}

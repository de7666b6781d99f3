// Makes alerts of runs of the last day that failed, or completed off their target. An alert that was seen does not come back.
import { timestampDate, type Timestamp } from '@bufbuild/protobuf/wkt';
import type { RunStatus } from '../generated/espalier/v1/common_pb.js';
import { count, percent } from '../ui/format.js';
import type { Alert } from './server-words.js';

const DAY_MS = 86_400_000;

export interface EndedRun {
  runId: string;
  name: string;
  status: RunStatus;
  endedAt?: Timestamp | undefined;
  hardSparsity: number;
  targetSparsity: number;
  failure?: string | undefined;
}

/** @param failed failed runs, the latest first; `missed` has the same order */
export function runAlerts(failed: readonly EndedRun[], missed: readonly EndedRun[], seen: readonly string[], now = Date.now()): Alert[] {
  const isNew = ({ runId, endedAt }: EndedRun): boolean =>
    !seen.includes(runId) && endedAt !== undefined && now - timestampDate(endedAt).getTime() < DAY_MS;
  const one = (run: EndedRun, words: string): Alert => ({
    words: `Run ${run.name || run.runId} ${words}`,
    to: `/runs/${run.runId}`,
    runs: [run.runId],
  });
  const many = (runs: EndedRun[], words: string, status: string): Alert => ({
    words: `${count(runs.length)} runs of the last day ${words}`,
    to: `/?status=${status}`,
    runs: runs.map(({ runId }) => runId),
  });
  const alert = (runs: EndedRun[], single: (run: EndedRun) => string, words: string, status: string): Alert[] =>
    runs.length === 0 ? [] : [runs.length === 1 ? one(runs[0]!, single(runs[0]!)) : many(runs, words, status)];
  return [
    ...alert(
      failed.filter(isNew),
      ({ failure = '' }) => (failure === '' ? 'failed' : `failed: ${failure.replace(/\.$/, '')}`),
      'failed',
      'failed',
    ),
    ...alert(
      missed.filter(isNew),
      ({ hardSparsity, targetSparsity }) => `missed its target: ${percent(hardSparsity)} of ${percent(targetSparsity, 0)}`,
      'missed their targets',
      'completed',
    ),
  ];
}

// Writes the engine time of people, runs or studies as CSV. The command line and the dashboard write equal files.
import { csvCell } from './csv.js';

export interface UsageFigures {
  caller: string;
  callerName: string;
  runId: string;
  runName: string;
  studyId: string;
  studyName: string;
  runs: number;
  attempts: number;
  engineSeconds: number;
}

const HEAD = 'caller,caller_name,run_id,run_name,study_id,study_name,runs,attempts,engine_seconds';

export function usageCsv(rows: readonly UsageFigures[]): string {
  const lines = rows.map((row) =>
    [
      ...[row.caller, row.callerName, row.runId, row.runName, row.studyId, row.studyName],
      ...[row.runs, row.attempts, row.engineSeconds].map(String),
    ]
      .map(csvCell)
      .join(','),
  );
  return [HEAD, ...lines].map((line) => `${line}\n`).join('');
}

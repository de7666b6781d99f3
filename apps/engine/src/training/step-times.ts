// For measurements (npm run overhead). With ESPALIER_STEP_TIMES=FILE, each step adds a line to that file: its number, its seconds, and its
// end on the clock of process.hrtime, in seconds too. A tool that stops this process for a while finds out from the file which step it hit.
import { appendFileSync } from 'node:fs';
import type { StepReport } from '#native-engine';

const file = process.env['ESPALIER_STEP_TIMES'];

export function noteStepTimes(reports: readonly Pick<StepReport, 'step' | 'seconds' | 'endedAt'>[]): void {
  if (file === undefined || reports.length === 0) return;
  appendFileSync(file, reports.map(({ step, seconds, endedAt }) => `${step} ${seconds} ${endedAt}\n`).join(''));
}

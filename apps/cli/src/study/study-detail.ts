// Finds the study that a command names, and a measure of it.
import { measureNames } from '#comparison';
import type { v1 } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import type { Context } from '../command-context.js';
import type { Whole } from '../connection/connection.js';

export const STUDY_ARGUMENT = ['<study>', 'its name, its id, or the first 4 or more characters of its id'] as const;

export const detailOf = ({ connection }: Context, studyId: string): Promise<Whole<v1.GetStudyResponse>> =>
  connection.call(connection.studies, connection.studies.getStudy, { studyId });

/** @throws CliError OPTION_INVALID that lists the existing measures */
export function requireMeasure({ groups }: Whole<v1.GetStudyResponse>, measure: string | undefined): void {
  if (measure === undefined || measureNames(groups).includes(measure)) return;
  const known = measureNames(groups).join(', ') || 'none so far';
  throw new CliError('OPTION_INVALID', `no completed run of the study has "${measure}"; there are: ${known}`, {
    field: '--measure',
    exitCode: ExitCode.usage,
  });
}

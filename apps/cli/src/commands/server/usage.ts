// The command usage: the time for which runs had engines, by person, run or study.
import { InvalidArgumentError, type Command } from 'commander';
import { usageCsv } from '#comparison';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { count, duration } from '../../output/format.js';
import { warnOf } from '../../output/warnings.js';
import { cutTo } from '../../output/text-width.js';
import { action, examples } from '../command.js';

interface UsageOptions {
  by: 'person' | 'run' | 'study';
  since?: Date;
  until?: Date;
  caller?: string;
  csv?: boolean;
}
const BY = {
  person: v1.UsageBy.USAGE_BY_CALLER,
  run: v1.UsageBy.USAGE_BY_RUN,
  study: v1.UsageBy.USAGE_BY_STUDY,
};
const NAME_MAX = 60;
const DAY_MS = 24 * 3_600_000;

export function registerUsage(program: Command): void {
  const usage = program
    .command('usage')
    .summary('the engine hours of people, runs or studies')
    .description(
      'Shows for how long runs had engines, from the recorded attempts of all runs, deleted ones too. An attempt has its engine from its ' +
        'start to its end. `show` has the same time of one run. Evaluations and exports after a run are not counted (docs/people.md).',
    )
    .option('--by <what>', 'a line for each person, run or study', byOf, 'person')
    .option('--since <time>', 'from then on: 30d, or a date such as 2026-11-01 (default: from the first run on)', timeOf)
    .option('--until <time>', 'up to then: 7d, or a date (default: now)', timeOf)
    .option('--caller <name>', 'only the runs of this caller, as launched_by in: espalier show --json')
    .option('--csv', 'as CSV, with seconds');
  examples(
    usage,
    ['espalier usage --since 30d'],
    ['espalier usage --by study'],
    ['espalier usage --by run --since 2026-11-01 --until 2026-12-01 --csv > november.csv'],
  );
  action<UsageOptions>(usage, async (context, _, options) => {
    const { connection, output } = context;
    if (options.csv && output.json)
      throw new CliError('OPTION_INVALID', '--csv is given beside --json: one of them is allowed', {
        field: '--csv',
        exitCode: ExitCode.usage,
      });
    const request = { from: options.since, until: options.until, by: BY[options.by], caller: options.caller ?? '' };
    const found = await connection.call(connection.runs, connection.runs.getUsage, request);
    if (options.csv) {
      output.line(usageCsv(found.rows).trimEnd());
      if (found.moreRows > 0)
        warnOf(output, 'ROWS_LEFT_OUT', `${count(found.moreRows)} rows with less time are left out: ask for a shorter time`);
      return;
    }
    output.result(found, () => print(context, found, options.by));
  });
}

function print({ output }: Context, { rows, moreRows, engineSeconds, quotas }: v1.GetUsageResponse, by: UsageOptions['by']): void {
  if (rows.length === 0) return output.line('no run had an engine');
  const quotaOf = new Map(quotas.map((quota) => [quota.caller, quota]));
  const name = { person: personOf, run: runOf, study: studyOf }[by];
  const hasQuota = quotas.length > 0;
  output.table(
    [by.toUpperCase(), ...(by === 'run' ? ['PERSON'] : ['RUNS']), 'ATTEMPTS', 'ENGINE TIME', ...(hasQuota ? ['QUOTA'] : [])],
    rows.map((row) => [
      cutTo(name(row), NAME_MAX),
      by === 'run' ? personOf(row) : count(row.runs),
      count(row.attempts),
      duration(row.engineSeconds),
      ...(hasQuota ? [quotaWords(quotaOf.get(row.caller))] : []),
    ]),
    [...(by === 'run' ? [] : [1]), 2, 3],
    { ATTEMPTS: 1 },
  );
  output.line(output.style('dim', `${duration(engineSeconds)} in all${moreRows === 0 ? '' : `; ${count(moreRows)} rows are left out`}`));
}

const personOf = ({ caller, callerName }: v1.UsageRow): string => callerName || caller || '-';
const runOf = ({ runId, runName }: v1.UsageRow): string => `${runId}${runName === '' ? '' : `  ${runName}`}`;
const studyOf = ({ studyId, studyName }: v1.UsageRow): string => (studyId === '' ? '(no study)' : studyName);

function quotaWords(quota: v1.EngineQuota | undefined): string {
  if (quota === undefined) return 'no limit';
  const hours = (seconds: number): string => (seconds / 3_600).toFixed(1);
  return `${hours(quota.usedSeconds)} of ${hours(quota.allowedSeconds)} h in ${quota.days} d`;
}

function byOf(text: string): UsageOptions['by'] {
  if (text === 'person' || text === 'run' || text === 'study') return text;
  throw new InvalidArgumentError('person, run or study is needed');
}

/** Reads a date, or a number of days before now. */
function timeOf(text: string): Date {
  const days = /^(\d{1,5})d$/.exec(text)?.[1];
  const time = days === undefined ? new Date(text) : new Date(Date.now() - Number(days) * DAY_MS);
  if (!/^\d/.test(text) || Number.isNaN(time.getTime()))
    throw new InvalidArgumentError('a date such as 2026-11-01, or a number of days such as 30d is needed');
  return time;
}

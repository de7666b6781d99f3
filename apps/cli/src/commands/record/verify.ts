// The command verify, which checks whether the record of a run is complete and true.
import { Option, type Command } from 'commander';
import { replayEngineWords, replayWords, type Replays } from '#comparison';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import type { Output } from '../../output/output.js';
import { positiveNumber, share, stepRange } from '../../options/parse.js';
import { typedOption } from '../../options/typed-values.js';
import { count, decimal, howMany, problemsFound } from '../../output/format.js';
import { ShareLine } from '../../progress/share-line.js';
import { verifyAll } from './verify-all.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';

interface VerifyOptions {
  all?: boolean;
  replay?: true | { from?: bigint; to?: bigint };
  tolerance?: number;
  sample?: number;
}

export function registerVerify(program: Command): void {
  const verify = program
    .command('verify')
    .argument('[run]', RUN_ARGUMENT[1])
    .summary('prove that the record of a run is whole and true')
    .description(
      'Checks that no event is missing or altered (digest chain) and that every artifact is there with the bytes of its digest. With ' +
        '--replay the recorded steps are computed again and the states compared bit by bit; a difference is narrowed to step and tensor.',
    )
    .option(
      '--all',
      'every run and study, every event of the store and every artifact instead of one run; files that no event names are listed',
    )
    .option('--replay [from..to]', 'compute again and compare; of a range, the segments with its steps', (text: string) => stepRange(text))
    .option('--sample <n>', 'with --replay: only this number of recorded stretches, chosen at random', positiveNumber)
    .addOption(
      typedOption(
        new Option('--tolerance <share>', 'with --replay on an engine of other numerics: the relative difference to accept (0.01 or 1%)'),
        share,
      ),
    );
  examples(
    verify,
    ['espalier verify k3f9'],
    ['espalier verify --all', 'the whole store'],
    ['espalier verify k3f9 --replay 100..200'],
    ['espalier verify k3f9 --replay --sample 5', 'a part of the steps that their engine could not know'],
    ['espalier verify k3f9 --replay --tolerance 1e-3', 'on another machine'],
  );
  action<VerifyOptions>(
    verify,
    (context, names, options) => {
      if (options.all === true) {
        if (names.length > 0 || [options.replay, options.tolerance, options.sample].some((one) => one !== undefined))
          throw new CliError('OPTIONS_CONFLICT', '--all takes no run and no replay', { exitCode: ExitCode.usage });
        return verifyAll(context);
      }
      if (names.length === 0) throw new CliError('OPTION_REQUIRED', 'name a run, or say --all', { exitCode: ExitCode.usage });
      return verifyRun(context, names, options);
    },
    { isVerdict: true },
  );
}

async function verifyRun({ connection, output, signal }: Context, [runId]: string[], options: VerifyOptions): Promise<number> {
  for (const name of ['tolerance', 'sample'] as const)
    if (options[name] !== undefined && options.replay === undefined)
      throw new CliError('OPTION_REQUIRED', `--${name} is for --replay: give both`, { field: `--${name}`, exitCode: ExitCode.usage });
  const range = typeof options.replay === 'object' ? options.replay : {};
  const request: v1.VerifyRunRequest = {
    runId: runId ?? '',
    replay: options.replay !== undefined,
    fromStep: range.from,
    toStep: range.to,
    tolerance: options.tolerance,
    sample: options.sample ?? 0,
  };
  const line = new ShareLine(output, 'verifying');
  const checks = new Map<string, Tally>();
  let summary: v1.VerifySummary | undefined;
  try {
    for await (const response of connection.stream(connection.history, connection.history.verifyRun, request, signal)) {
      line.update(response.doneShare);
      summary = response.summary ?? summary;
      if (response.check === '' || response.summary !== undefined) continue;
      const tally = checks.get(response.check) ?? { good: 0, bad: 0, notChecked: '' };
      if (response.notChecked) tally.notChecked = response.detail;
      else tally[response.ok ? 'good' : 'bad']++;
      checks.set(response.check, tally);
      if (!response.ok && !response.notChecked)
        line.print(`${output.style('red', 'wrong')}  ${response.check}  ${response.subject}: ${response.detail}`);
    }
  } finally {
    line.end();
  }
  if (summary === undefined) throw new CliError('RESULT_MISSING', 'the server ended the check without a result; try again');
  output.result(summary, () => printSummary(output, summary, checks, range));
  return summary.ok ? ExitCode.ok : ExitCode.failed;
}

/** The part of a record that no check proves without an engine, and how much of the run was computed twice. */
export const restsOnEngines = (replays: Replays | undefined, steps: number | bigint): string =>
  'Losses and perplexities rest on the engines that computed them, except for steps that were computed twice (verify --replay): ' +
  `${replays === undefined ? 'none' : replayWords(replays, steps)}.`;

interface Tally {
  good: number;
  bad: number;
  /** The reason why something could not be checked, or ''. */
  notChecked: string;
}

function printSummary(output: Output, summary: v1.VerifySummary, checks: Map<string, Tally>, range: { from?: bigint; to?: bigint }): void {
  for (const [check, { good, bad, notChecked }] of checks) {
    if (notChecked !== '' && bad === 0) {
      output.line(`${output.style('yellow', 'open ')}  ${check}: ${notChecked}`);
      continue;
    }
    const mark = bad === 0 ? output.style('green', 'ok   ') : output.style('red', 'wrong');
    output.line(`${mark}  ${check}: ${count(good)} good${bad === 0 ? '' : `, ${count(bad)} bad`}`);
  }
  if (summary.firstDivergentStep !== undefined) {
    const tensor = summary.firstDivergentTensor === '' ? '' : ` in ${summary.firstDivergentTensor}`;
    output.text(
      `first difference at step ${summary.firstDivergentStep}${tensor}: ` +
        `at most ${decimal(summary.maxAbsDifference)} absolute, ${decimal(summary.maxRelDifference)} relative`,
    );
  }
  const within =
    range.from === undefined && range.to === undefined ? '' : `, the recorded stretches that hold ${range.from ?? ''}..${range.to ?? ''}`;
  const replayed =
    summary.replayedSteps > 0n
      ? `, ${howMany(summary.replayedSteps, 'step')} computed again ${replayEngineWords(summary.replayEngines)}${within}`
      : '';
  const verdict = summary.ok
    ? output.style('green', 'the record is whole and true')
    : output.style('red', problemsFound(summary.problems.length));
  const { metricsBatches, artifacts, replays, notRecorded } = summary;
  const events = `${howMany(summary.events - metricsBatches, 'event')}, ${howMany(metricsBatches, 'batch', 'batches')} of metrics`;
  output.text(`${verdict}: ${events}, ${howMany(artifacts, 'artifact')}${replayed}`);
  if (notRecorded !== '') output.text(`This replay could not be recorded: ${notRecorded}`);
  if (summary.ok) output.text(restsOnEngines(replays, summary.steps));
}

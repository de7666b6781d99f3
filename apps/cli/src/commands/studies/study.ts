// The command study, for many runs that one file describes and that are compared.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { v1 } from '#protocol';
import { readStudy, STUDY_FILE_BYTES_MAX } from '#run-files';
import { ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { requireFilePlace, writeFileWhole } from '../../output/result-files.js';
import { HubFiles } from '../../options/hub-files.js';
import { absolutePath } from '../../options/parse.js';
import { readYamlText } from '../../options/yaml-text.js';
import { decimal, enumWord, howMany, percent, when } from '../../output/format.js';
import { statusText } from '../../output/run-status.js';
import type { Output } from '../../output/output.js';
import { ShareLine } from '../../progress/share-line.js';
import { printRungs } from '../../study/rungs.js';
import { isStudyCsv, studyCsv } from '../../study/study-csv.js';
import { intactValue, measureName, measureOf, reachedWords, shareGone, targetWords } from '#comparison';
import { detailOf, requireMeasure, STUDY_ARGUMENT } from '../../study/study-detail.js';
import { action, examples } from '../command.js';
import type { Whole } from '../../connection/connection.js';

/** The server checks every run first, and may have to wait for an engine to start. */
const LAUNCH_TIMEOUT_MS = 600_000;
const LOOK_MS = 1_000;
const STUDY_FILE = '<file>';

export function registerStudy(program: Command): void {
  const study = program
    .command('study')
    .summary('many runs from one file, compared over seeds')
    .description('Runs that are compared with one another: grids of settings, seeds, recipes and baselines (docs/studies.md).');
  registerLaunch(study);
  registerList(study);
  registerShow(study);
  registerCancel(study);
}

function registerLaunch(study: Command): void {
  const launch = study
    .command('launch')
    .argument('<file>', 'YAML file of the study', absolutePath)
    .summary('start a study, or add runs to it')
    .description(
      'Checks every run of the file, records the study and launches its runs, at_once at a time, whatever restarts in ' +
        'between. A study is known by its name: launched again, it gets those runs that it does not have.',
    )
    .option('-w, --watch', 'stay until all its runs have ended');
  examples(launch, ['espalier study launch recipes.yaml --watch']);
  action<{ watch?: boolean }, [string]>(launch, async (context, [path], options) => {
    const { connection, output } = context;
    const file = readStudy(path, await readYamlText(path, STUDY_FILE, STUDY_FILE_BYTES_MAX), STUDY_FILE);
    await fetchNames(context, file.request);
    const response = await connection
      .call(connection.studies, connection.studies.launchStudy, file.request, LAUNCH_TIMEOUT_MS)
      .catch((error: unknown) => {
        throw file.withPlace(error);
      });
    const { study: launched } = response;
    if (options.watch !== true) {
      output.result(response, () => printLaunched(output, response));
      return 0;
    }
    if (!output.json) printLaunched(output, response);
    const detail = await untilEnded(context, launched.studyId);
    output.result(detail, () => printStudy(output, detail, undefined));
    return detail.study.runsFailed > 0 ? ExitCode.failed : 0;
  });
}

/** Fetches what runs of the study name on the hub, one name after the other. */
async function fetchNames(context: Context, { runs }: v1.LaunchStudyRequest): Promise<void> {
  const hub = new HubFiles(context);
  for (const run of runs) {
    run.modelPath = await hub.model(run.modelPath);
    if (run.data !== undefined) run.data = await hub.source(run.data);
  }
}

function printLaunched(output: Output, { study, added }: Whole<v1.LaunchStudyResponse>): void {
  const has = howMany(study.runs, 'run');
  const what =
    added === study.runs
      ? `launched with ${has}`
      : added === 0
        ? `has these runs already: ${has}`
        : `has ${howMany(added, 'run')} more: ${has}`;
  output.line(`study ${output.style('bold', study.name)} (${study.studyId}) ${what}`);
  output.line(`look at it with: espalier study show ${study.studyId}`);
}

async function untilEnded(context: Context, studyId: string): Promise<Whole<v1.GetStudyResponse>> {
  const line = new ShareLine(context.output, 'runs');
  try {
    for (;;) {
      const detail = await detailOf(context, studyId);
      const { study } = detail;
      const ended = study.runsCompleted + study.runsFailed + study.runsCancelled;
      line.update(ended / study.runs, study.waitingFor, `${ended} of ${study.runs} have ended`);
      if (study.endedAt !== undefined) return detail;
      await sleep(LOOK_MS, undefined, { signal: context.signal });
    }
  } catch (error) {
    line.end();
    if (context.signal.aborted && !context.output.json)
      context.output.line(`no longer watching; the study goes on: espalier study show ${studyId}`);
    throw error;
  } finally {
    line.end();
  }
}

function registerList(study: Command): void {
  const list = study.command('list').alias('ls').summary('list the studies').description('Lists the studies, newest first.');
  examples(list, ['espalier study list']);
  action(list, async ({ connection, output }) => {
    const { studies } = await connection.call(connection.studies, connection.studies.listStudies, {});
    output.result({ studies }, () => {
      if (studies.length === 0) return output.line('no studies; start one with: espalier study launch FILE');
      output.table(
        ['STUDY', 'NAME', 'STATUS', 'RUNS', 'COMPLETED', 'FAILED', 'LAUNCHED'],
        studies.map((one) => [
          one.studyId,
          one.name,
          statusOf(one),
          String(one.runs),
          String(one.runsCompleted),
          String(one.runsFailed),
          when(one.launchedAt),
        ]),
        [3, 4, 5],
        { NAME: 'cut', LAUNCHED: 1 },
      );
    });
  });
}

const statusOf = ({ status }: v1.Study): string => enumWord(v1.studyStatusToJSON(status), 'STUDY_STATUS_');

interface ShowOptions {
  measure?: string;
  runs?: boolean;
  csv?: string;
  force?: boolean;
}

function registerShow(study: Command): void {
  const show = study
    .command('show')
    .argument(...STUDY_ARGUMENT)
    .summary('a table of the study, with mean and spread over seeds')
    .description(
      'Shows the runs of a study in groups that differ by their seed only: the mean, and the standard deviation over the seeds, of those ' +
        'that have completed. Other evaluations than perplexity are there once "espalier eval" has made them.',
    )
    .option('--measure <name>', 'another measure than perplexity, e.g. "boolq acc"')
    .option('--runs', 'each run instead')
    .option('--csv <file>', 'also as a file with a line for each run', absolutePath)
    .option('--force', 'replace an earlier file there');
  examples(show, ['espalier study show recipes'], ['espalier study show recipes --runs --csv recipes.csv']);
  action<ShowOptions, [string]>(show, async (context, [studyId], { measure, runs = false, csv, force = false }) => {
    const { output } = context;
    if (csv !== undefined) await requireFilePlace(csv, { option: '--csv', force, what: 'a table of "espalier study"', isOurs: isStudyCsv });
    const detail = await detailOf(context, studyId);
    requireMeasure(detail, measure);
    if (csv !== undefined) await writeFileWhole(csv, once(studyCsv(detail)));
    output.result(detail, () => {
      if (runs) printRuns(output, detail);
      else printStudy(output, detail, measure);
      if (csv !== undefined) output.text(`written to ${csv}`);
    });
  });
}

function printStudy(output: Output, detail: Whole<v1.GetStudyResponse>, measure: string | undefined): void {
  const { study, groups } = detail;
  const { name, runs, runsCompleted, runsFailed, runsUnderWay, runsWaiting, runsCancelled, waitingFor } = study;
  const counts = [
    `${runsCompleted} of ${howMany(runs, 'run')} completed`,
    ...(runsUnderWay > 0 ? [`${runsUnderWay} under way`] : []),
    ...(runsWaiting > 0 ? [`${runsWaiting} waiting`] : []),
    ...(runsFailed > 0 ? [`${runsFailed} failed`] : []),
    ...(runsCancelled > 0 ? [`${runsCancelled} cancelled`] : []),
  ];
  output.line(`${output.style('bold', name)} (${study.studyId}) is ${statusOf(study)}: ${counts.join(', ')}`);
  if (study.note !== '') output.text(study.note);
  if (waitingFor !== '') output.text(`waits: ${waitingFor}`);
  const fields = [...new Set(groups.flatMap(({ settings }) => Object.keys(settings)))];
  const first = groups.map((group) => measureOf(group, measure)).find((one) => one !== undefined);
  const title = first === undefined ? 'PERPLEXITY' : measureName(first).toUpperCase();
  output.table(
    ['VARIANT', ...fields.map((field) => field.replaceAll('_', ' ').toUpperCase()), 'RUNS', 'SPARSITY', title, 'SPREAD', 'RANGE'],
    groups.map((group) => {
      const figure = measureOf(group, measure)?.figure;
      return [
        group.modelPath === '' ? group.variant : `${group.variant} (${group.modelPath})`,
        ...fields.map((field) => group.settings[field] ?? ''),
        group.runsCompleted === group.runs ? String(group.runs) : `${group.runsCompleted}/${group.runs}`,
        percent(group.sparsity?.mean ?? Number.NaN),
        decimal(figure?.mean),
        figure?.spread === undefined ? '-' : `± ${decimal(figure.spread)}`,
        figure === undefined || figure.n < 2 ? '-' : `${decimal(figure.lowest)} to ${decimal(figure.highest)}`,
      ];
    }),
    fields.map((_, index) => index + 1).concat([fields.length + 1, fields.length + 2, fields.length + 3, fields.length + 4]),
    { VARIANT: 'cut', RANGE: 1 },
  );
  const intact = intactValue(groups, measure);
  if (first !== undefined) output.text(`${first.convention}${intact === undefined ? '' : `; before pruning ${decimal(intact)}`}`);
  printRungs(output, detail);
}

function printRuns(output: Output, { runs }: Whole<v1.GetStudyResponse>): void {
  output.table(
    ['RUN', 'VARIANT', 'TARGET', 'SEED', 'STATUS', 'STEP', 'SPARSITY', 'REACHED', 'PERPLEXITY', 'WHY'],
    runs.map(({ variant, settings, run, refusal }) => [
      run?.runId ?? '-',
      variant,
      targetWords(settings ?? {}),
      String(settings?.seed ?? '-'),
      run === undefined ? (refusal === undefined ? 'waiting' : 'refused') : statusText(run),
      `${run?.step ?? '-'}/${(settings?.totalSteps ?? 0) + (settings?.recoverSteps ?? 0)}`,
      run === undefined ? '-' : percent(shareGone(run)),
      run === undefined || run.step === 0n ? '-' : reachedWords(run.hardSparsity, run.budget),
      decimal(run?.evaluations.find(({ headline }) => headline)?.perplexity),
      refusal?.message ?? run?.failure?.message ?? '',
    ]),
    [2, 3, 5, 6, 7, 8],
    { WHY: 'wrap', TARGET: 'wrap', VARIANT: 'cut', SPARSITY: 1, REACHED: 2 },
  );
}

function registerCancel(study: Command): void {
  const cancel = study
    .command('cancel')
    .argument(...STUDY_ARGUMENT)
    .summary('launch no more of its runs, and cancel those under way')
    .description('Launches no more runs of a study, and cancels those under way. What has completed stays.')
    .option('--reason <text>', 'why, for the record');
  examples(cancel, ['espalier study cancel recipes']);
  action<{ reason?: string }, [string]>(cancel, async ({ connection, output }, [studyId], { reason = '' }) => {
    const { study: cancelled } = await connection.call(connection.studies, connection.studies.cancelStudy, { studyId, reason });
    output.result(cancelled, () =>
      output.line(`study ${cancelled.name} is cancelled: ${howMany(cancelled.runsCompleted, 'run')} completed`),
    );
  });
}

async function* once(text: string): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield Buffer.from(text);
}

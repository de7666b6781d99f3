import type { Command } from 'commander';
import { reachedWords, shareGone, targetWithBudget } from '#comparison';
import type { v1 } from '#protocol';
import type { Context } from '../../command-context.js';
import { names, wholeNumber } from '../../options/parse.js';
import { addRunFilter, listedRuns, runFilter, type RunFilterOptions } from '../../options/run-filter.js';
import { count, decimal, duration, percent, recipeWord, when } from '../../output/format.js';
import { statusStyle, statusText, stepsInAll } from '../../output/run-status.js';
import { cutTo } from '../../output/text-width.js';
import { action, examples } from '../command.js';

interface RunsOptions extends RunFilterOptions {
  name?: string;
  model?: string;
  parent?: string;
  group?: string[];
  order: string;
  limit: number;
  all?: boolean;
  deleted?: boolean;
  pageToken?: string;
}
const NAME_MAX = 60;

export function registerRuns(program: Command): void {
  const runs = program
    .command('runs')
    .alias('ls')
    .summary('list the runs')
    .description(
      'Lists the runs, newest first, or with --group the results of runs that are alike. A condition of --where names a setting ' +
        '(docs/settings.md), a figure (perplexity, sparsity, expected_sparsity, step, steps, teachers, parameters, parameters_left, ' +
        'training_seconds, seconds_left, share_done, tokens_per_second, loss, restarts, rewinds, skipped_steps, teacher, name, model, ' +
        'launched_by, phase, parent) or a task with its metric ("boolq acc"), then one of ' +
        '= != < <= > >= and a value. The shell wants quotes around < and >.',
    );
  addRunFilter(runs)
    .option('--name <part>', 'whose name contains this; with *, a pattern of the whole name')
    .option('--model <part>', 'whose model path contains this')
    .option('--parent <run>', 'forks of this run')
    .option('--group <figures>', 'a line for all runs that are alike in these settings or figures: recipe,target_sparsity', names)
    .option(
      '--order <order>',
      'launched_at, updated_at, id, name, status, or any figure of --where, with " desc" for the opposite order',
      'launched_at desc',
    )
    .option('--limit <n>', 'how many at most (0: all)', wholeNumber, 50)
    .option('--all', 'all of them')
    .option('--deleted', 'also deleted runs')
    .option('--page-token <token>', 'go on after an earlier page (next_page_token of --json)');
  examples(
    runs,
    ['espalier runs --status training,paused'],
    ['espalier runs --order perplexity --limit 10'],
    ["espalier runs --where target_sparsity=0.5 --where 'perplexity<6'"],
    ['espalier runs --tag baseline --group recipe,target_sparsity', 'mean and spread over seeds'],
    ['espalier runs --json --all'],
  );
  action<RunsOptions>(runs, async (context, _, options) => {
    const { name = '', model = '', parent = '', deleted = false } = options;
    const filter = { ...runFilter(options), nameContains: name, modelContains: model, parentRunId: parent, includeDeleted: deleted };
    if (options.group !== undefined) return printGroups(context, options.group, filter);
    const limit = options.all || options.limit === 0 ? Infinity : options.limit;
    const asked = { ...filter, orderBy: options.order, pageToken: options.pageToken ?? '' };
    const list = await listedRuns(context.connection, asked, limit);
    const isFiltered = [options.status, options.name, options.model, options.parent, options.tag, options.where].some(
      (one) => one !== undefined,
    );
    context.output.result(list, () => printRuns(context, list, isFiltered));
  });
}

async function printGroups(
  { connection, output }: Context,
  by: string[],
  filter: Omit<v1.GroupRunsRequest, 'by' | 'figures'>,
): Promise<void> {
  const response = await connection.call(connection.runs, connection.runs.groupRuns, { by, figures: [], ...filter });
  const wide = (figure: v1.RunFigure | undefined, words: (value: number) => string): string =>
    figure === undefined ? '-' : `${words(figure.mean)}${figure.spread === undefined ? '' : ` ± ${words(figure.spread)}`}`;
  output.result(response, () => {
    if (response.groups.length === 0) return output.line('no runs match');
    output.table(
      [...by.map((name) => name.toUpperCase()), 'RUNS', 'COMPLETED', 'PERPLEXITY', 'LOWEST', 'BEST RUN', 'SPARSITY', 'TRAINING'],
      response.groups.map(({ values, runs, runsCompleted, perplexity, sparsity, trainingSeconds, bestRunId }) => [
        ...values.map((value) => cutTo(value || '-', NAME_MAX)),
        String(runs),
        String(runsCompleted),
        wide(perplexity, (value) => decimal(value, 3)),
        decimal(perplexity?.lowest, 3),
        bestRunId || '-',
        wide(sparsity, (value) => percent(value)),
        trainingSeconds === undefined ? '-' : duration(trainingSeconds.mean),
      ]),
      [by.length, by.length + 1, by.length + 2, by.length + 3, by.length + 5, by.length + 6],
      { TRAINING: 4, SPARSITY: 3, LOWEST: 2, COMPLETED: 1 },
    );
  });
}

/** Returns the perplexity of the evaluation that the server chose as the run's result. */
function headlinePerplexity(run: v1.Run): number | undefined {
  return run.evaluations.find(({ headline }) => headline)?.perplexity;
}

function printRuns({ output }: Context, { runs, total }: v1.ListRunsResponse, isFiltered: boolean): void {
  if (runs.length === 0) {
    output.line(total === 0 && !isFiltered ? 'no runs; start one with: espalier launch --help' : 'no runs match');
    return;
  }
  output.table(
    ['RUN', 'NAME', 'STATUS', 'STEP', 'SPARSITY', 'TARGET', 'REACHED', 'PERPLEXITY', 'TEACHERS', 'RECIPE', 'LAUNCHED'],
    runs.map((run) => [
      run.runId,
      cutTo(run.name || '-', NAME_MAX),
      output.style(statusStyle(run), statusText(run)),
      `${run.step}/${stepsInAll(run) ?? '-'}${run.liveStep > run.step ? `, now ${run.liveStep}` : ''}`,
      percent(shareGone(run)),
      targetWithBudget(run.settings ?? {}),
      run.step === 0n ? '-' : reachedWords(run.hardSparsity, run.budget),
      decimal(headlinePerplexity(run), 3),
      String(run.teacherCount),
      run.settings === undefined ? '-' : recipeWord(run.settings.recipe),
      when(run.launchedAt),
    ]),
    [3, 4, 5, 6, 7, 8],
    { NAME: 'cut', LAUNCHED: 7, RECIPE: 6, TEACHERS: 5, REACHED: 4, TARGET: 3, PERPLEXITY: 2, STEP: 1 },
  );
  if (runs.length < total) output.line(output.style('dim', `${count(runs.length)} of ${count(total)}; more with --limit N or --all`));
}

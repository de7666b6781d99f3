import type { Command } from 'commander';
import { v1 } from '#protocol';
import type { Context } from '../context.js';
import { choices, STATUSES, wholeNumber } from '../options/parse.js';
import { gathered } from '../options/label-options.js';
import { count, decimal, percent, recipeWord, when } from '../output/format.js';
import { statusStyle, statusText } from '../output/run-status.js';
import { cutTo } from '../output/text-width.js';
import { action, examples } from './command.js';

interface RunsOptions {
  status?: v1.RunStatus[];
  name?: string;
  model?: string;
  parent?: string;
  tag?: string[];
  order: string;
  limit: number;
  all?: boolean;
  deleted?: boolean;
  pageToken?: string;
}
const LARGEST_PAGE = 500;
const NAME_MAX = 60;

export function registerRuns(program: Command): void {
  const runs = program
    .command('runs')
    .alias('ls')
    .summary('list the runs')
    .description('Lists the runs, newest first.')
    .option('--status <names>', `only these: ${Object.keys(STATUSES).join(', ')}`, choices(STATUSES))
    .option('--name <part>', 'whose name contains this')
    .option('--model <part>', 'whose model path contains this')
    .option('--parent <run>', 'forks of this run')
    .option('--tag <tag>', 'that have this tag; given several times, all of them', gathered)
    .option(
      '--order <order>',
      '"launched_at desc", "launched_at", "name", "perplexity", "sparsity desc" or "updated_at desc"',
      'launched_at desc',
    )
    .option('--limit <n>', 'how many at most (0: all)', wholeNumber, 50)
    .option('--all', 'all of them')
    .option('--deleted', 'also those that were deleted')
    .option('--page-token <token>', 'go on after an earlier page (next_page_token of --json)');
  examples(
    runs,
    ['espalier runs --status training,paused'],
    ['espalier runs --order perplexity --limit 10'],
    ['espalier runs --json --all'],
  );
  action<RunsOptions>(runs, async (context, _, options) => {
    const list = await listRuns(context, options);
    const { status, name, model, parent, tag } = options;
    const isFiltered = [status, name, model, parent, tag].some((one) => one !== undefined);
    context.output.result(list, () => printRuns(context, list, isFiltered));
  });
}

async function listRuns({ connection }: Context, options: RunsOptions): Promise<v1.ListRunsResponse> {
  const found: v1.Run[] = [];
  const limit = options.all || options.limit === 0 ? Infinity : options.limit;
  let pageToken = options.pageToken ?? '';
  let total = 0;
  do {
    const response = await connection.call(
      connection.runs,
      connection.runs.listRuns,
      v1.ListRunsRequest.fromPartial({
        pageSize: Math.min(limit - found.length, LARGEST_PAGE),
        pageToken,
        statuses: options.status ?? [],
        nameContains: options.name ?? '',
        modelContains: options.model ?? '',
        parentRunId: options.parent ?? '',
        tags: options.tag ?? [],
        includeDeleted: options.deleted ?? false,
        orderBy: options.order,
      }),
    );
    found.push(...response.runs);
    total = response.total;
    pageToken = response.nextPageToken;
  } while (pageToken !== '' && found.length < limit);
  return { runs: found, nextPageToken: pageToken, total };
}

/** The server says which evaluation speaks for the run. */
function headlinePerplexity(run: v1.Run): number | undefined {
  return run.evaluations.find(({ headline }) => headline)?.perplexity;
}

function printRuns({ output }: Context, { runs, total }: v1.ListRunsResponse, isFiltered: boolean): void {
  if (runs.length === 0) {
    output.line(total === 0 && !isFiltered ? 'no runs; start one with: espalier launch --help' : 'no runs match');
    return;
  }
  output.table(
    ['RUN', 'NAME', 'STATUS', 'STEP', 'SPARSITY', 'TARGET', 'PERPLEXITY', 'TEACHERS', 'RECIPE', 'LAUNCHED'],
    runs.map((run) => [
      run.runId,
      cutTo(run.name || '-', NAME_MAX),
      output.style(statusStyle(run), statusText(run)),
      `${run.step}/${run.settings?.totalSteps ?? '-'}${run.liveStep > run.step ? `, now ${run.liveStep}` : ''}`,
      percent(run.hardSparsity || run.expectedSparsity),
      percent(run.settings?.targetSparsity ?? Number.NaN, 0),
      decimal(headlinePerplexity(run), 3),
      String(run.teacherCount),
      run.settings === undefined ? '-' : recipeWord(run.settings.recipe),
      when(run.launchedAt),
    ]),
    [3, 4, 5, 6, 7],
    { NAME: 'cut', LAUNCHED: 5, RECIPE: 4, TEACHERS: 3, TARGET: 2, PERPLEXITY: 1 },
  );
  if (runs.length < total) output.line(output.style('dim', `${count(runs.length)} of ${count(total)}; more with --limit N or --all`));
}

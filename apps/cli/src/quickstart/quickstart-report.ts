import type { v1 } from '#protocol';
import type { Context } from '../command-context.js';
import { dashboardLink } from '../local-server/dashboard-link.js';
import { bytes, count, decimal, duration, percent, shortCount } from '../output/format.js';
import type { RunningStack } from '../local-server/stack.js';

const SHOWN_TEACHERS = 6;

/** The result that --json writes, field by field. */
export interface QuickstartResult {
  steps: number;
  target_sparsity: number;
  /** The share of the prunable parameters that the deterministic masks remove. */
  sparsity: number;
  parameters_dense: number;
  parameters_pruned: number;
  /** The bytes of the weights. */
  bytes_dense: number;
  bytes_pruned: number;
  perplexity_intact: number;
  perplexity_masked: number;
  perplexity_exported: number;
  state_digest: string;
  teachers: number;
  training_seconds: number;
  total_seconds: number;
  tokens_per_second: number;
}

export interface QuickstartOutcome {
  run: v1.Run;
  teachers: v1.Teacher[];
  exportFolder: string;
  result: QuickstartResult;
}

/** Returns the words that begin a command on this data folder. */
export function commandOn({ dataFolder }: Pick<Context, 'dataFolder'>): string {
  const isFound = process.env['ESPALIER_DATA_FOLDER'] !== undefined || dataFolder === `${process.cwd()}/.espalier`;
  return isFound ? 'npx espalier' : `npx espalier --data-folder ${dataFolder}`;
}

/** @param stack the running server; null where the server stops after this */
export function printQuickstart(
  context: Context,
  { run, teachers, exportFolder, result: r }: QuickstartOutcome,
  stack: RunningStack | null,
): void {
  const { output } = context;
  const saved = (dense: number, pruned: number) => (dense > 0 ? percent(pruned / dense - 1) : '-');
  output.line();
  output.table(
    ['', 'INTACT', 'MASKED', 'EXPORTED', ''],
    [
      [
        'parameters',
        count(r.parameters_dense),
        count(r.parameters_dense),
        count(r.parameters_pruned),
        saved(r.parameters_dense, r.parameters_pruned),
      ],
      ['weights', bytes(r.bytes_dense), bytes(r.bytes_dense), bytes(r.bytes_pruned), saved(r.bytes_dense, r.bytes_pruned)],
      ['validation perplexity', decimal(r.perplexity_intact), decimal(r.perplexity_masked), decimal(r.perplexity_exported), ''],
    ],
    [1, 2, 3, 4],
  );
  output.line();
  output.pairs([
    ['sparsity', `${percent(r.sparsity, 2)} of the prunable parameters are gone (target ${percent(r.target_sparsity)})`],
    [
      'training',
      `${r.steps} steps in ${duration(r.training_seconds)}, ${shortCount(r.tokens_per_second)} tokens/s; ` +
        `in all ${duration(r.total_seconds)}`,
    ],
    ['model', exportFolder],
    ['state', r.state_digest],
    [
      'teachers',
      `${r.teachers} to fork from: ` +
        teacherList(teachers.map(({ mark, expectedSparsity }) => `#${mark} (${percent(expectedSparsity, 0)})`)),
    ],
  ]);
  const middle = teachers[Math.floor(teachers.length / 2)]?.mark ?? 1;
  const last = Number(run.step);
  const commands: [string, string][] = [
    ...(stack === null ? ([['up --detach', 'start the server again, which the others need']] satisfies [string, string][]) : []),
    [`show ${run.runId}`, 'the open parts of each layer'],
    [`history ${run.runId}`, 'every recorded fact'],
    [`fork ${run.runId} --from-teacher ${middle} --target-sparsity 0.3 --watch`, 'another run, from a teacher'],
    [`verify ${run.runId} --replay ${Math.max(last - 20, 0)}..${last}`, 'compute steps again and compare, bit by bit'],
    [`audit export ${run.runId} --out ${run.runId}.audit.tar`, 'a file that proves the run offline'],
    ...(stack === null ? [] : ([['down', 'stop the server']] satisfies [string, string][])),
  ];
  output.line('\nTry next:');
  const width = Math.max(...commands.map(([command]) => command.length));
  for (const [command, note] of commands)
    output.line(`  ${commandOn(context)} ${command.padEnd(width)}  ${output.style('dim', `# ${note}`)}`);
  if (stack === null) return;
  const link = dashboardLink(context.dataFolder, stack, `/runs/${run.runId}`);
  if (link !== null) output.line(`\nLook at it: ${link}`);
  output.line(`\nThe server keeps running (process ${stack.pid}, log ${stack.logFile}).`);
}

function teacherList(names: string[]): string {
  if (names.length <= SHOWN_TEACHERS) return names.join(', ') || 'none';
  return `${names.slice(0, SHOWN_TEACHERS - 2).join(', ')} ... ${names.slice(-2).join(', ')}`;
}

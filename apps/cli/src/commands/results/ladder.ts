// The command ladder: it shows every teacher of a run as a model that could be exported, and the best of them.
import { gainWords, onFront, perplexityOf, type SpeedUp } from '#comparison';
import { InvalidArgumentError, type Command } from 'commander';
import type { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import type { Connection } from '../../connection/connection.js';
import { aimOption, aimWords, amountsOf, bytesByBudget, bytesCounted } from '../../ladder/budget-rungs.js';
import { LADDER_BUDGETS, markWithin, type BudgetTarget, type LadderBudget, type Missing, type Sizes } from '../../ladder/budget-rungs.js';
import { candidatesOf, type MeasuredMark } from '../../ladder/measured-candidates.js';
import { nameOf, smallestWithin, type Candidate } from '../../ladder/candidate.js';
import { benchRun, evaluateRun } from '../../engine-calls.js';
import { absolutePath, exportFormat, number, wholeNumber } from '../../options/parse.js';
import { count, decimal, percent } from '../../output/format.js';
import type { Output } from '../../output/output.js';
import { ShareLine } from '../../progress/share-line.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';
import { exportInto } from './export.js';

interface LadderOptions extends Partial<Record<LadderBudget, BudgetTarget[]>> {
  every?: number;
  dtype?: string;
  force?: boolean;
  choose?: number | 'last';
  maxPerplexity?: number;
  export?: string;
  format?: string;
}

const BUDGETS_OFFERED = Object.keys(LADDER_BUDGETS) as LadderBudget[];

const aimsOf = (options: LadderOptions): BudgetTarget[] => BUDGETS_OFFERED.flatMap((setting) => options[setting] ?? []);

export function registerLadder(program: Command): void {
  const ladder = program
    .command('ladder')
    .argument(...RUN_ARGUMENT)
    .summary('size, speed and perplexity of every teacher and the last state, and the best of them')
    .description(
      'Evaluates every teacher of a run and its last state on its validation text and measures their speed, each in turns with the ' +
        'intact model. A star marks the Pareto front of parameters and perplexity: for such a model, no other is both as ' +
        'small and as good. Parameters are those of an export in the format. Evaluations that the history has are not made again.',
    )
    .option('--every <n>', 'only each n-th teacher, and the last state', wholeNumber)
    .option('--dtype <type>', 'bf16 or f32, for measuring speed (default: as "espalier bench")')
    .option('--choose <mark>', 'the teacher to export, or "last" for the last state', markOrLast)
    .option('--max-perplexity <p>', 'choose the smallest one whose perplexity is at most this', number);
  for (const setting of BUDGETS_OFFERED)
    ladder.option(`${aimOption({ setting })} <amounts>`, LADDER_BUDGETS[setting].help, amounts(setting));
  ladder
    .option('--export <path>', 'export the chosen one, as "espalier export" does', absolutePath)
    .option(
      '--format <format>',
      'format of the exports whose parameters are shown and compared, and of --export (default: hf-remote)',
      exportFormat,
    )
    .option('--force', 'replace an earlier export there; anything else is left alone');
  examples(
    ladder,
    ['espalier ladder k3f9'],
    ['espalier ladder k3f9 --every 5 --max-perplexity 6.5 --export pruned.gguf'],
    ['espalier ladder k3f9 --target-params 1M,1.5M,2M', 'one model for each budget'],
  );
  action<LadderOptions, [string]>(ladder, async (context, [runId], options) => {
    const { output, signal } = context;
    requireSense(options);
    const force = options.force === true;
    const { candidates, chosen, missing } = await climb(context, runId, options, signal);
    if (options.export === undefined || chosen === undefined) {
      output.result({ candidates: shown(candidates, chosen), missing }, () => writeLadder(output, candidates, options, chosen, missing));
      return;
    }
    if (!output.json) writeLadder(output, candidates, options, chosen, missing);
    const format = options.format === undefined ? {} : { format: options.format };
    const teacher = typeof chosen.mark === 'number' ? { teacher: chosen.mark } : {};
    await exportInto(context, runId, { out: options.export, ...teacher, proof: true, force, ...format });
  });
}

const amounts =
  (setting: LadderBudget) =>
  (text: string): BudgetTarget[] => {
    try {
      return amountsOf(setting, text);
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message);
    }
  };

const markOrLast = (text: string): number | 'last' => (text === 'last' ? text : wholeNumber(text));

function requireSense(options: LadderOptions): void {
  const { every, choose: mark, maxPerplexity, export: out } = options;
  const wrong = (message: string, field: string): CliError => new CliError('OPTION_INVALID', message, { field, exitCode: ExitCode.usage });
  if (every === 0) throw wrong('--every 0 would leave nothing: a whole number of 1 or more is allowed', '--every');
  if (mark !== undefined && maxPerplexity !== undefined) throw wrong('--choose and --max-perplexity both choose: give one', '--choose');
  const aims = aimsOf(options);
  const [aim] = aims;
  if (mark !== undefined && aim !== undefined)
    throw wrong(`--choose and ${aimOption(aim)} both say which models are wanted: give one`, '--choose');
  if (out !== undefined && mark === undefined && maxPerplexity === undefined && aims.length !== 1)
    throw wrong('--export needs a choice: give --choose MARK, --max-perplexity P or one budget, e.g. --target-params 1.5M', '--export');
}

/** A pruned state of the run. */
interface Rung extends Sizes {
  mark: number | 'last';
  stateDigest: string;
  hardSparsity: number;
  aims: BudgetTarget[]; // the budgets within which it is the largest model
}

/** @param budgetBytes the bytes as the run's budget counts them; undefined where its target is not in bytes */
const sizesOf = (
  { parameterCount, multiplicationShare }: v1.ResultEstimate | v1.Teacher,
  weightBytes: bigint,
  budgetBytes: number | undefined,
): Sizes => ({
  parameters: Number(parameterCount),
  bytes: budgetBytes ?? Number(weightBytes),
  multiplicationShare,
});

/** Returns the teachers in order, then the last state, unless it is one of them. */
async function rungsOf({ connection }: Context, run: v1.Run, options: LadderOptions): Promise<Rung[]> {
  const { every = 1, choose: mark } = options;
  const { teachers } = await connection.call(connection.artifacts, connection.artifacts.listTeachers, {
    runId: run.runId,
    includeAbandoned: false,
    includeInherited: false,
    includeDiscarded: false,
  });
  const { stateDigest, hardSparsity } = run;
  const lastTeacher = teachers.find((teacher) => teacher.stateDigest === stateDigest);
  const wanted = mark === 'last' ? (lastTeacher?.mark ?? mark) : mark;
  const isWanted = (teacher: v1.Teacher, index: number): boolean =>
    index % every === 0 || teacher.mark === wanted || teacher === lastTeacher;
  const last: Rung[] =
    stateDigest === '' || lastTeacher !== undefined || run.result === undefined
      ? []
      : [
          {
            mark: 'last',
            stateDigest,
            hardSparsity,
            ...sizesOf(run.result, run.result.bytes, bytesByBudget(run.budget, hardSparsity)),
            aims: [],
          },
        ];
  const rungs: Rung[] = [
    ...teachers.filter(isWanted).map((teacher) => ({
      ...teacher,
      ...sizesOf(teacher, teacher.weightBytes, bytesByBudget(run.budget, teacher.hardSparsity)),
      aims: [],
    })),
    ...last,
  ];
  if (wanted !== undefined && !rungs.some((rung) => rung.mark === wanted))
    throw new CliError('TEACHER_NOT_FOUND', `the run has no teacher ${wanted}`, { field: '--choose', exitCode: ExitCode.notFound });
  if (rungs.length === 0) throw new CliError('RUN_NOT_STARTED', 'the run has no recorded state yet', { exitCode: ExitCode.notAllowed });
  return rungs;
}

/** The size of a rung as an export in the format has it. The widths are filled up with zeros in some formats, so the engine counts. */
async function sizesInFormat({ connection, signal }: Context, run: v1.Run, rung: Rung, format: string): Promise<Sizes> {
  if (format === 'hf-remote') return rung;
  const asked = { runId: run.runId, format, rounds: 1, promptTokens: 1, tokens: 1, ...namedBy(rung) };
  const { dense, compact } = await benchRun(connection, asked, undefined, signal);
  const multiplicationShare = Number(compact.multiplications) / Number(dense.multiplications);
  const bytes = bytesByBudget(run.budget, rung.hardSparsity) ?? Number(compact.bytes);
  return { parameters: Number(compact.parameterCount), bytes, multiplicationShare };
}

const namedBy = ({ mark }: Pick<Rung, 'mark'>): { teacherMark?: number } => (mark === 'last' ? {} : { teacherMark: mark });

/** Measures the intact model, then the rungs. */
async function climb(
  context: Context,
  runId: string,
  options: LadderOptions,
  signal: AbortSignal,
): Promise<{ candidates: Candidate[]; chosen: Candidate | undefined; missing: Missing[] }> {
  const { connection, output } = context;
  const before = await runOf(connection, runId);
  const all = await rungsOf(context, before, options);
  const { format = 'hf-remote' } = options;
  const missing = await markWithin(
    all,
    aimsOf(options),
    (rung) => sizesInFormat(context, before, rung, format),
    bytesCounted(before.budget),
  );
  const rungs = aimsOf(options).length === 0 ? all : all.filter(({ aims }) => aims.length > 0);
  const [first] = missing;
  if (first !== undefined && rungs.length === 0)
    throw new CliError('TEACHER_NOT_FOUND', missing.map(({ message }) => message).join('\n'), {
      field: first.field,
      exitCode: ExitCode.notFound,
    });
  const line = new ShareLine(output, 'climbing');
  const pieces = 2 * rungs.length + 1;
  let done = 0;
  const progress = (share: number, waitingFor: string): void => line.update((done + share) / pieces, waitingFor);
  try {
    const perplexityAt = async (stateDigest: string, subject: Partial<v1.EvaluateRunRequest>): Promise<number> => {
      const known = perplexityOf(await runOf(connection, runId), stateDigest);
      const perplexity = known ?? (await evaluateRun(connection, { runId, ...subject }, progress, signal)).perplexity;
      done += 1;
      return perplexity;
    };
    const intactPerplexity = await perplexityAt('', { intact: true });
    const measured: MeasuredMark[] = [];
    const request = { runId, computeDtype: options.dtype ?? '', format };
    for (const { mark, stateDigest, aims } of rungs) {
      const named = namedBy({ mark });
      const perplexity = await perplexityAt(stateDigest, named);
      const speeds = await benchRun(connection, { ...request, ...named }, progress, signal);
      done += 1;
      measured.push({ mark, perplexity, speeds, ...(aims.length === 0 ? {} : { budgets: aims.map(aimWords) }) });
    }
    const candidates = candidatesOf(intactPerplexity, measured);
    const lastRung = rungs.findIndex((rung) => rung.stateDigest === before.stateDigest);
    const wanted = options.maxPerplexity === undefined && aimsOf(options).length === 1 ? candidates[1] : undefined;
    return { candidates, missing, chosen: wanted ?? choose(candidates, options, candidates[lastRung + 1]) };
  } finally {
    line.end();
  }
}

const runOf = async (connection: Connection, runId: string): Promise<v1.Run> =>
  (await connection.call(connection.runs, connection.runs.getRun, { runId, atRevision: undefined })).run;

function choose(
  candidates: readonly Candidate[],
  { choose: mark, maxPerplexity }: LadderOptions,
  last: Candidate | undefined,
): Candidate | undefined {
  if (mark === 'last') return last;
  if (mark !== undefined) return candidates.find((one) => one.mark === mark);
  if (maxPerplexity === undefined) return undefined;
  const found = smallestWithin(candidates, maxPerplexity);
  if (found !== undefined) return found;
  const best = Math.min(...candidates.filter((one) => one.mark !== null).map(({ perplexity }) => perplexity));
  throw new CliError('TEACHER_NOT_FOUND', `no pruned model has a perplexity of at most ${maxPerplexity}; the best has ${decimal(best)}`, {
    field: '--max-perplexity',
    exitCode: ExitCode.notFound,
  });
}

function writeLadder(
  output: Output,
  candidates: readonly Candidate[],
  { format = 'hf-remote' }: LadderOptions,
  chosen: Candidate | undefined,
  missing: readonly Missing[],
): void {
  const hasBudgets = candidates.some(({ budgets }) => budgets !== undefined);
  output.table(
    ['', 'MODEL', ...(hasBudgets ? ['WITHIN'] : []), 'SPARSITY', 'PARAMETERS', 'PERPLEXITY', 'PREFILL', 'DECODE', 'DECODE IS'],
    candidates.map((one) => [
      onFront(one, candidates) ? '*' : '',
      `${nameOf(one)}${one === chosen ? ' (chosen)' : ''}`,
      ...(hasBudgets ? [one.budgets?.join(', ') ?? ''] : []),
      percent(one.sparsity),
      count(one.parameters),
      decimal(one.perplexity),
      withInterval(one, one.prefillSpeedUp, (times) => decimal((one.prefillSeconds / times) * 1e3, 1), 'ms'),
      withInterval(one, one.decodeSpeedUp, (times) => count(Math.round(times / one.passSeconds)), 'tokens/s'),
      one.mark === null ? '' : gainWords(one.decodeSpeedUp),
    ]),
    [2, 3, 4, 5, 6, 7].map((column) => column + (hasBudgets ? 1 : 0)),
    { WITHIN: 'wrap', PREFILL: 3, SPARSITY: 2, DECODE: 1 },
  );
  for (const { message } of missing) output.text(message);
  output.text(`* no other model is at once as small and as good; parameters of exports in the format ${format}`);
  output.text('a speed is the ratio to the intact model, measured in turns, multiplied by the speed of the intact model');
}

/**
 * "12.4 ms (12.1 to 12.6)": the interval is that of the ratio to the intact model.
 * @param at the figure of a speed that is this many times that of the model
 */
function withInterval({ mark }: Candidate, { times, low, high }: SpeedUp, at: (times: number) => string, unit: string): string {
  if (mark === null) return `${at(1)} ${unit}`;
  const ends = [at(low / times), at(high / times)].sort(
    (left, right) => Number(left.replaceAll(',', '')) - Number(right.replaceAll(',', '')),
  );
  return `${at(1)} ${unit} (${ends.join(' to ')})`;
}

function shown(candidates: readonly Candidate[], chosen: Candidate | undefined): unknown[] {
  return candidates.map((one) => ({ ...one, front: onFront(one, candidates), chosen: one === chosen }));
}

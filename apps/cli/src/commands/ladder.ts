// ladder: every teacher of a run as a model that could be exported, and which of them are worth it.
import type { Command } from 'commander';
import type { v1 } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import type { Context } from '../context.js';
import { requireFilePlace, writeFileWhole } from '../files.js';
import { ladderSvg, isLadderSvg } from '../ladder/ladder-svg.js';
import { onFront, smallestWithin, type Candidate } from '../ladder/pareto.js';
import { benchRun, evaluateRun } from '../operations.js';
import { absolutePath, number, wholeNumber } from '../options/parse.js';
import { count, decimal, percent, shortCount } from '../output/format.js';
import type { Output } from '../output/output.js';
import { ShareLine } from '../progress/share-line.js';
import { action, examples, RUN_ARGUMENT } from './command.js';
import { exportInto } from './export.js';

interface LadderOptions {
  every?: number;
  dtype?: string;
  svg?: string;
  force?: boolean;
  choose?: number;
  maxPerplexity?: number;
  export?: string;
  format?: string;
}

export function registerLadder(program: Command): void {
  const ladder = program
    .command('ladder')
    .argument(...RUN_ARGUMENT)
    .summary('size, speed and perplexity of every teacher, and the best of them')
    .description(
      'Evaluates every teacher of a run on its validation text and measures its speed. A star marks those that no other is at once as ' +
        'small and as good as (the Pareto front of parameters and perplexity). Evaluations that the history has are not made again.',
    )
    .option('--every <n>', 'only each n-th teacher', wholeNumber)
    .option('--dtype <type>', 'in which speed is measured, bf16 or f32 (default: bf16)')
    .option('--svg <file>', 'also as a drawing', absolutePath)
    .option('--choose <mark>', 'the teacher to export', wholeNumber)
    .option('--max-perplexity <p>', 'choose the smallest one whose perplexity is at most this', number)
    .option('--export <path>', 'export the chosen one, as "espalier export" does', absolutePath)
    .option('--format <format>', 'of the export')
    .option('--force', 'replace an earlier drawing or export there; anything else is left alone');
  examples(ladder, ['espalier ladder k3f9 --svg ladder.svg'], ['espalier ladder k3f9 --every 5 --max-perplexity 6.5 --export pruned.gguf']);
  action<LadderOptions>(ladder, async (context, [runId], options) => {
    const { output, signal } = context;
    requireSense(options);
    const force = options.force === true;
    if (options.svg !== undefined)
      await requireFilePlace(options.svg, { option: '--svg', force, what: 'a drawing of "espalier ladder"', isOurs: isLadderSvg });
    const candidates = await climb(context, runId!, options, signal);
    const chosen = choose(candidates, options);
    if (options.svg !== undefined) await writeFileWhole(options.svg, once(Buffer.from(ladderSvg(candidates))));
    if (options.export === undefined || chosen === undefined) {
      output.result({ candidates: shown(candidates, chosen) }, () => writeLadder(output, candidates, options, chosen));
      return;
    }
    if (!output.json) writeLadder(output, candidates, options, chosen);
    const format = options.format === undefined ? {} : { format: options.format };
    await exportInto(context, runId!, { out: options.export, teacher: chosen.mark!, proof: true, force, ...format });
  });
}

function requireSense({ every, choose: mark, maxPerplexity, export: out, format }: LadderOptions): void {
  const wrong = (message: string, field: string): CliError => new CliError('OPTION_INVALID', message, { field, exitCode: ExitCode.usage });
  if (every === 0) throw wrong('--every 0 would leave nothing: a whole number of 1 or more is allowed', '--every');
  if (mark !== undefined && maxPerplexity !== undefined) throw wrong('--choose and --max-perplexity both choose: give one', '--choose');
  if (out !== undefined && mark === undefined && maxPerplexity === undefined)
    throw wrong('--export needs a choice: give --choose MARK or --max-perplexity P', '--export');
  if (out === undefined && format !== undefined) throw wrong('--format is that of --export, which is missing', '--format');
}

/** The intact model, then the teachers in their order. */
async function climb(
  { connection, output }: Context,
  runId: string,
  { every = 1, dtype = '', choose: mark }: LadderOptions,
  signal: AbortSignal,
): Promise<Candidate[]> {
  const listed = await connection.call(connection.artifacts, connection.artifacts.listTeachers, {
    runId,
    includeAbandoned: false,
    includeInherited: false,
    includeDiscarded: false,
  });
  const teachers = listed.teachers.filter((teacher, index) => index % every === 0 || teacher.mark === mark);
  if (mark !== undefined && !teachers.some((teacher) => teacher.mark === mark))
    throw new CliError('TEACHER_NOT_FOUND', `the run has no teacher ${mark}`, { field: '--choose', exitCode: ExitCode.notFound });
  if (teachers.length === 0)
    throw new CliError('TEACHER_NOT_FOUND', 'the run has no teachers yet: the first one is made at the first snapshot mark', {
      exitCode: ExitCode.notAllowed,
    });
  const { run } = await connection.call(connection.runs, connection.runs.getRun, { runId, atRevision: undefined });
  const line = new ShareLine(output, 'climbing');
  const pieces = 2 * teachers.length + 1;
  let done = 0;
  const progress = (share: number, waitingFor: string): void => line.update((done + share) / pieces, waitingFor);
  const perplexityOf = async (request: { intact?: boolean; teacherMark?: number }, stateDigest: string): Promise<number> => {
    const known = run?.evaluations.find((one) => isSame(one, run, stateDigest));
    const { perplexity } = known ?? (await evaluateRun(connection, { runId, ...request }, progress, signal));
    done += 1;
    return perplexity;
  };
  try {
    const candidates: Candidate[] = [];
    const intact = await perplexityOf({ intact: true }, '');
    for (const { mark: teacherMark, stateDigest, hardSparsity } of teachers) {
      const perplexity = await perplexityOf({ teacherMark }, stateDigest);
      const { dense, compact } = await benchRun(connection, { runId, teacherMark, computeDtype: dtype }, progress, signal);
      done += 1;
      if (candidates.length === 0) candidates.push(candidate(null, 0, intact, dense));
      candidates.push(candidate(teacherMark, hardSparsity, perplexity, compact));
    }
    return candidates;
  } finally {
    line.end();
  }
}

/** On the run's own validation text, in its window. */
function isSame(one: v1.Evaluation, run: v1.Run, stateDigest: string): boolean {
  const own = run.evaluations.find(({ headline }) => headline);
  return (
    (one.task === '' || one.task === 'text') &&
    one.window === run.settings?.evaluationWindow &&
    one.dataDigest === own?.dataDigest &&
    !one.subject.startsWith('export:') &&
    one.stateDigest === stateDigest
  );
}

function candidate(mark: number | null, sparsity: number, perplexity: number, speed: v1.ModelSpeed): Candidate {
  const { parameterCount, prefillSeconds, passSeconds, prefillRatio, passRatio } = speed;
  return { mark, sparsity, perplexity, parameters: Number(parameterCount), prefillSeconds, passSeconds, prefillRatio, passRatio };
}

function choose(candidates: readonly Candidate[], { choose: mark, maxPerplexity }: LadderOptions): Candidate | undefined {
  if (mark !== undefined) return candidates.find((one) => one.mark === mark);
  if (maxPerplexity === undefined) return undefined;
  const found = smallestWithin(candidates, maxPerplexity);
  if (found !== undefined) return found;
  const best = Math.min(...candidates.filter((one) => one.mark !== null).map(({ perplexity }) => perplexity));
  throw new CliError('TEACHER_NOT_FOUND', `no teacher has a perplexity of at most ${maxPerplexity}; the best has ${decimal(best)}`, {
    field: '--max-perplexity',
    exitCode: ExitCode.notFound,
  });
}

function writeLadder(output: Output, candidates: readonly Candidate[], { svg }: LadderOptions, chosen: Candidate | undefined): void {
  output.table(
    ['', 'MODEL', 'SPARSITY', 'PARAMETERS', 'PERPLEXITY', 'PREFILL', 'DECODE', 'TIMES'],
    candidates.map((one) => [
      onFront(one, candidates) ? '*' : '',
      `${one.mark === null ? 'intact' : `#${one.mark}`}${one === chosen ? ' (chosen)' : ''}`,
      percent(one.sparsity),
      shortCount(one.parameters),
      decimal(one.perplexity),
      `${decimal(one.prefillSeconds * 1e3, 1)} ms`,
      `${count(Math.round(1 / one.passSeconds))} tokens/s`,
      decimal(1 / one.passRatio, 2),
    ]),
    [2, 3, 4, 5, 6, 7],
    { PREFILL: 2, SPARSITY: 1 },
  );
  output.text('* no other model is at once as small and as good; TIMES: how much quicker decode is than that of the intact model');
  if (svg !== undefined) output.text(`drawn in ${svg}`);
}

function shown(candidates: readonly Candidate[], chosen: Candidate | undefined): unknown[] {
  return candidates.map((one) => ({ ...one, front: onFront(one, candidates), chosen: one === chosen }));
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield bytes;
}

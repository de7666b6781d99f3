// Computes accuracies and perplexities from likelihoods, and their standard errors.
import { runInNewContext } from 'node:vm';
import { LoopPauses } from './loop-pauses.js';
import type { MeanTask, ScoredTask } from './declaration.js';
import { strip } from './python-text.js';
import type { Question } from './questions.js';
import { TaskError } from './task-error.js';

/** The log-likelihoods of a question in nats: one sum for each choice, or one sum over all windows of a text. */
export interface Answer {
  logLikelihoods: number[];
  /** For each choice, whether greedy decoding gives it. */
  greedy: boolean[];
  /** The text that the model wrote; undefined: the question asks for none. */
  text?: string;
}
export interface Measured {
  metric: string;
  value: number;
  /** The standard error; null: the metric has none, or there is only one question. */
  stderr: number | null;
  /** The number of questions that the value is the mean of. */
  n: number;
}

export async function measure(task: ScoredTask, questions: readonly Question[], answers: readonly Answer[]): Promise<Measured[]> {
  const found: Measured[] = [];
  for (const metric of task.metrics) found.push(await measured(metric, task, questions, answers));
  return found;
}

async function measured(metric: string, task: ScoredTask, questions: readonly Question[], answers: readonly Answer[]): Promise<Measured> {
  const sums = answers.map(({ logLikelihoods: [whole = NaN] }) => whole);
  const per = (count: (question: Question) => number): { n: number; rate: number } => {
    const n = questions.reduce((sum, one) => sum + count(one), 0);
    return { n, rate: -sums.reduce((total, one) => total + one, 0) / n };
  };
  switch (metric) {
    case 'word_perplexity': {
      const { n, rate } = per(({ words }) => words);
      return { metric, value: Math.exp(rate), stderr: null, n };
    }
    case 'byte_perplexity': {
      const { n, rate } = per(({ bytes }) => bytes);
      return { metric, value: Math.exp(rate), stderr: null, n };
    }
    case 'bits_per_byte': {
      const { n, rate } = per(({ bytes }) => bytes);
      return { metric, value: rate / Math.LN2, stderr: null, n };
    }
    case 'perplexity': {
      const perplexity = (of: readonly number[]): number => Math.exp(-mean(of));
      return { metric, value: perplexity(sums), stderr: await bootstrapped(sums), n: sums.length };
    }
    default: {
      const scored = questions.map((question, index) => {
        const answer = answers[index];
        return { group: question.group, value: answer !== undefined && isRight(metric, task, question, answer) ? 1 : 0 };
      });
      return { metric, value: mean(scored.map(({ value }) => value)), stderr: groupedError(scored), n: scored.length };
    }
  }
}

function isRight(metric: string, task: ScoredTask, { asks, gold, lengths }: Question, { logLikelihoods, greedy, text }: Answer): boolean {
  if (asks.kind === 'text') return answerIn(task, text ?? '') === strip(asks.answer);
  if (task.kind === 'continuation') return greedy[0] === true;
  const scores = metric === 'acc_norm' ? logLikelihoods.map((sum, place) => sum / (lengths[place] ?? NaN)) : logLikelihoods;
  return best(scores) === gold;
}

/** Returns the part of a text that is compared, without white space around it; null: the text has no such part. */
export function answerIn(task: ScoredTask, text: string): string | null {
  if (task.kind !== 'generation' || task.take === undefined) return strip(text);
  const found = matchOf(task.task, task.take, text);
  return found === null ? null : strip(found[1] ?? found[0]);
}

/** The time limit for a match, because a pattern may run for ever on some texts. */
const PATTERN_MS = 2_000;

function matchOf(task: string, pattern: string, text: string): RegExpExecArray | null {
  try {
    return runInNewContext("new RegExp(pattern, 'u').exec(text)", { pattern, text }, { timeout: PATTERN_MS }) as RegExpExecArray | null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    throw new TaskError(
      'TASK_INVALID',
      `${task}: take: ${JSON.stringify(pattern)} ran for more than ${PATTERN_MS / 1000} s on a text of the model`,
    );
  }
}

/** Returns the index of the highest score; of equal scores, the first counts. */
function best(scores: readonly number[]): number {
  return scores.indexOf(Math.max(...scores));
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The standard error of the mean: the sample's deviation divided by the root of the number of values. */
function errorOfMean(values: readonly number[]): number | null {
  if (values.length < 2) return null;
  const centre = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - centre) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}

/** The standard error of values in groups: the variances of the groups are pooled, weighted by the groups' sizes. */
function groupedError(scored: readonly { group: string; value: number }[]): number | null {
  const groups = new Map<string, number[]>();
  for (const { group, value } of scored) {
    const own = groups.get(group);
    if (own === undefined) groups.set(group, [value]);
    else own.push(value);
  }
  const values = scored.map(({ value }) => value);
  if (groups.size < 2) return errorOfMean(values);
  const all = values.length;
  if (all <= groups.size) return null;
  let pooled = 0;
  for (const group of groups.values()) pooled += (group.length - 1) * (errorOfMean(group) ?? 0) ** 2 * group.length;
  return Math.sqrt(pooled / (all - groups.size) / all);
}

const RESAMPLES = 10_000;

/** The standard error of a perplexity by bootstrap: over resampled questions, from a fixed seed. */
async function bootstrapped(values: readonly number[]): Promise<number | null> {
  if (values.length < 2) return null;
  let seed = 1234;
  const next = (): number => {
    // The random generator mulberry32.
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const pauses = new LoopPauses();
  const perplexities: number[] = [];
  for (let resample = 0; resample < RESAMPLES; resample++) {
    await pauses.ifDue();
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[Math.floor(next() * values.length)] ?? NaN;
    perplexities.push(Math.exp(-sum / values.length));
  }
  const centre = mean(perplexities);
  return Math.sqrt(perplexities.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (RESAMPLES - 1));
}

/** Returns the plain mean of the members' values; null where one of them is missing. */
export function meanOf(
  { of }: MeanTask['means'][number],
  known: ReadonlyMap<string, readonly Measured[]>,
): Omit<Measured, 'metric'> | null {
  const members = Object.entries(of).map(([task, metric]) => known.get(task)?.find((one) => one.metric === metric));
  if (members.some((one) => one === undefined)) return null;
  const found = members as Measured[];
  const squares = found.map(({ stderr }) => stderr).map((one) => (one === null ? NaN : one ** 2));
  const sum = squares.reduce((total, one) => total + one, 0);
  return {
    value: mean(found.map(({ value }) => value)),
    stderr: Number.isNaN(sum) ? null : Math.sqrt(sum) / found.length,
    n: found.length,
  };
}

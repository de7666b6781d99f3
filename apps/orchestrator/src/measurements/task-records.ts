// The record of an evaluation by tasks: the measures of each task, the facts that make them comparable, and the result of each question.
import {
  answerIn,
  meanOf,
  type Answer,
  type GenerationTask,
  type Measured,
  type MeanTask,
  type Question,
  type TaskQuestions,
} from '#tasks';
import { sha256Hex } from '../event-sourcing/canonical-json.js';
import { findDiscard } from '../pruning-run/aggregate/discarding.js';
import type { RecordEvaluation } from '../pruning-run/aggregate/pruning-run.decisions.js';
import { sameMeasure } from '../pruning-run/record/measures.js';
import { recordedSubject, type Measurable, type Subject } from './subjects.js';

export type ComputeDtype = 'f32' | 'bf16';
export interface TaskEvaluationRequest {
  run: Measurable;
  subject: Subject;
  tasks: TaskQuestions[];
  means: MeanTask[];
  dtype: ComputeDtype;
}

/** The facts that are known of a task before it is scored. Values with equal facts can be compared. */
interface TaskIdentity {
  task: string;
  convention: string;
  dataDigest: string;
  digests: { prompt: string; data: string; tokenizer: string };
}

/** The tasks that were evaluated before, with their recorded results. */
export function knownFacts(request: TaskEvaluationRequest, tokenizer: string): Map<TaskQuestions, RecordEvaluation[]> {
  const { run, subject, tasks } = request;
  const { subject: name, stateDigest } = recordedSubject(subject);
  const same = run.evaluations.filter((one) => one.subject === name && one.stateDigest === stateDigest);
  const known = new Map<TaskQuestions, RecordEvaluation[]>();
  for (const task of tasks) {
    const identity = identityOf(task, request, tokenizer);
    const found = task.task.metrics.flatMap((metric) => same.findLast((one) => sameMeasure(one, { ...identity, metric })) ?? []);
    const samples = found[0]?.samplesDigest;
    const isGone = samples !== undefined && findDiscard(run, ({ digest }) => digest === samples) !== null;
    if (found.length < task.task.metrics.length || isGone) continue;
    known.set(
      task,
      found.map(({ at: _at, abandoned: _abandoned, ...fact }) => ({ kind: 'recordEvaluation', ...fact })),
    );
  }
  return known;
}

/** The number of tokens that a text may have. At least half of the model's positions stay for the question. */
export const textTokens = ({ max_tokens: most }: GenerationTask, positions: number): number =>
  Math.max(1, Math.min(most, Math.floor(positions / 2)));

export function identityOf(
  { task, rowCount, limitOfGroup, questions, promptDigest, dataDigest }: TaskQuestions,
  { dtype, run }: Pick<TaskEvaluationRequest, 'dtype' | 'run'>,
  tokenizerDigest: string,
): TaskIdentity {
  const shots = task.kind === 'choices' ? (task.shots?.count ?? 0) : 0;
  const asked = task.kind === 'generation' ? `greedy, at most ${textTokens(task, run.model.maxPositions)} tokens` : `${shots} shots`;
  const first = limitOfGroup === null ? `the first ${questions.length}` : `the first ${limitOfGroup} of each group, ${questions.length}`;
  const rows = questions.length < rowCount ? `${first} of ${rowCount} rows` : `all ${rowCount} rows`;
  return {
    task: task.task,
    convention: [asked, rows, ...(dtype === 'f32' ? [] : [dtype])].join(', '),
    dataDigest,
    digests: { prompt: promptDigest, data: dataDigest, tokenizer: tokenizerDigest },
  };
}

/** The result of each question as a line of JSON. The lines are a buffer, since all prompts together may be longer than a string can be. */
export function samplesOf({ task, questions }: TaskQuestions, answers: Answer[]): Buffer {
  return Buffer.concat(questions.map((question, place) => Buffer.from(`${JSON.stringify(sampleOf(task, question, answers[place]!))}\n`)));
}

function sampleOf(task: TaskQuestions['task'], { index, gold, asks, group }: Question, answer: Answer): object {
  const { logLikelihoods, greedy, text = '' } = answer;
  if (asks.kind === 'text')
    return { task: task.task, index, group, prompt: asks.prompt, gold: asks.answer, answer: answerIn(task, text), text };
  const sample = { task: task.task, index, ...promptOf(asks), gold, loglikelihoods: logLikelihoods };
  return task.kind === 'continuation' ? { ...sample, greedy: greedy[0] } : sample;
}

/** Returns the prompt and the choices of a question. Mostly all choices have one context. A text that is scored as a whole has none. */
function promptOf(asks: Exclude<Question['asks'], { kind: 'text' }>): { prompt: string | string[]; choices: string[] } {
  if (asks.kind === 'whole') return { prompt: '', choices: [asks.text] };
  const contexts = asks.pairs.map(({ context }) => context);
  const [first = ''] = contexts;
  return {
    prompt: contexts.every((one) => one === first) ? first : contexts,
    choices: asks.pairs.map(({ continuation }) => continuation),
  };
}

export function recordOf(
  subject: Subject,
  { task, convention, dataDigest, digests, metric, value, stderr, n }: TaskIdentity & Measured,
  details: Record<string, number>,
  samples: Buffer | null,
): RecordEvaluation {
  return {
    kind: 'recordEvaluation',
    ...recordedSubject(subject),
    task,
    metric,
    value,
    stderr,
    n,
    convention,
    details,
    dataDigest,
    digests,
    ...(samples === null ? {} : { samplesDigest: sha256Hex(samples) }),
  };
}

export function meanRecords(
  mean: MeanTask,
  known: ReadonlyMap<string, readonly Measured[]>,
  request: TaskEvaluationRequest,
  tokenizer: string,
): RecordEvaluation[] {
  const { subject, tasks, dtype } = request;
  return mean.means.flatMap((one) => {
    const value = meanOf(one, known);
    if (value === null) return [];
    const members = tasks.filter(({ task }) => Object.hasOwn(one.of, task.task));
    const identities = members.map((member) => identityOf(member, request, tokenizer));
    const rows = [...new Set(identities.map(({ convention }) => convention))];
    const together = (part: 'prompt' | 'data'): string => sha256Hex(identities.map(({ digests }) => digests[part]).join('\n'));
    const data = together('data');
    const asked = rows.length === 1 ? rows[0]! : ['rows as in its tasks', ...(dtype === 'f32' ? [] : [dtype])].join(', ');
    const convention = `${one.convention}; ${asked}`;
    const digests = { prompt: together('prompt'), data, tokenizer };
    return [recordOf(subject, { task: mean.task, convention, dataDigest: data, digests, metric: 'mean', ...value }, {}, null)];
  });
}

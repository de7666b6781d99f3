// A task is a small file. It says where its rows lie, what a model is asked with each of them, and what is measured.
import { z } from 'zod';
import { parse } from 'yaml';
import { TaskError } from './task-error.js';

const name = z.string().regex(/^[a-z0-9][a-z0-9_.-]{0,63}$/, 'must be lower-case letters, digits and _ . -');

function isPattern(source: string): boolean {
  try {
    new RegExp(source, 'u');
    return true;
  } catch {
    return false;
  }
}

/** One change to a text, in the order of the list. */
const cleaning = z.union([
  z.literal('strip'),
  z.strictObject({ replace: z.tuple([z.string(), z.string()]) }),
  z.strictObject({ pattern: z.tuple([z.string(), z.string()]) }),
]);

const shots = z.strictObject({
  count: z.number().int().min(1).max(100),
  split: z.string(),
  /** Between one example and the next. */
  between: z.string().default('\n\n'),
});

const common = {
  task: name,
  about: z.string().default(''),
  data: z.strictObject({ folder: z.string().regex(/^(?!\.+$)[\w.-]+$/, 'must be the name of a folder in --task-data'), split: z.string() }),
  clean: z.array(cleaning).default([]),
};

/** Where the right answer stands among the choices: a number, or what `labels` has at that place. */
const gold = { gold: z.string(), labels: z.union([z.string(), z.array(z.string())]).optional() };

const choiceMetrics = z.array(z.enum(['acc', 'acc_norm'])).min(1);

/** Several continuations of one context. */
const multipleChoice = z.strictObject({
  ...common,
  ...gold,
  kind: z.literal('choices').default('choices'),
  /** In front of all, once. */
  description: z.string().default(''),
  prompt: z.string(),
  /** Templates; or a column that holds a list. */
  choices: z.union([z.string(), z.array(z.string()).min(2)]),
  /** Joins context and continuation; no part of a choice's length. */
  delimiter: z.string().default(' '),
  metrics: choiceMetrics,
  shots: shots.optional(),
  /** A column: groups of their own shots, whose deviations are pooled. */
  group: z.string().optional(),
});

/** One continuation of several contexts. */
const contexts = z.strictObject({
  ...common,
  ...gold,
  kind: z.literal('contexts'),
  contexts: z.array(z.string()).min(2),
  continuation: z.string(),
  delimiter: z.string().default(' '),
  metrics: z.array(z.enum(['acc'])).min(1),
});

/** One continuation of one context: how likely it is, and whether greedy decoding gives it. */
const continuation = z.strictObject({
  ...common,
  kind: z.literal('continuation'),
  prompt: z.string(),
  continuation: z.string(),
  delimiter: z.string().default(' '),
  metrics: z.array(z.enum(['acc', 'perplexity'])).min(1),
});

/** A whole text, each token after all before it that fit; words and bytes are those of the column as it is. */
const rolling = z.strictObject({
  ...common,
  kind: z.literal('rolling'),
  text: z.string(),
  metrics: z.array(z.enum(['word_perplexity', 'byte_perplexity', 'bits_per_byte'])).min(1),
});

/** A text that the model writes after a prompt, compared with the answer of the row, word for word. */
const generation = z.strictObject({
  ...common,
  kind: z.literal('generation'),
  /** Each folder inside the folder of the task holds one group of questions. */
  data: common.data.extend({ groups: z.literal('folders').optional() }),
  /** A text file in the folder of the task, in front of all; {{group}} in its name is the question's group. */
  preface: z.strictObject({ file: z.string(), clean: z.array(cleaning).default([]), between: z.string().default('\n\n') }).optional(),
  prompt: z.string(),
  /** A column. */
  answer: z.string(),
  /** A regular expression: the first group of its first match in the text counts, or the match; without it the text. */
  take: z.string().refine(isPattern, 'must be a valid regular expression').optional(),
  /** The text ends before the first of these. */
  until: z.array(z.string().min(1)).max(16).default([]),
  max_tokens: z.number().int().min(1).max(65_536).default(128),
  metrics: z.array(z.enum(['exact_match'])).min(1),
});

/** Means over other tasks' values. */
const mean = z.strictObject({
  task: name,
  about: z.string().default(''),
  kind: z.literal('mean'),
  means: z
    .array(
      z.strictObject({
        convention: z.string(),
        of: z.record(name, z.enum(['acc', 'acc_norm'])).refine((of) => Object.keys(of).length > 0, 'must name a task'),
      }),
    )
    .min(1),
});

const kinds = { choices: multipleChoice, contexts, continuation, rolling, generation, mean };
export type ChoicesTask = z.infer<typeof multipleChoice>;
export type ContextsTask = z.infer<typeof contexts>;
export type ContinuationTask = z.infer<typeof continuation>;
export type RollingTask = z.infer<typeof rolling>;
export type GenerationTask = z.infer<typeof generation>;
export type MeanTask = z.infer<typeof mean>;
export type ScoredTask = ChoicesTask | ContextsTask | ContinuationTask | RollingTask | GenerationTask;
export type Task = ScoredTask | MeanTask;
export type Cleaning = z.infer<typeof cleaning>;

/** @param source for errors: the file's path */
export function parseTask(text: string, source: string): Task {
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw new TaskError('TASK_INVALID', `${source}: no valid YAML (${(error as Error).message.split('\n')[0]})`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new TaskError('TASK_INVALID', `${source}: a task is a mapping of fields, such as "task: my_task"`);
  const { kind = 'choices' } = value as { kind?: unknown };
  if (typeof kind !== 'string' || !Object.hasOwn(kinds, kind))
    throw new TaskError('TASK_INVALID', `${source}: kind is ${JSON.stringify(kind)}; one of ${Object.keys(kinds).join(', ')} is allowed`);
  const parsed = kinds[kind as keyof typeof kinds].safeParse(value);
  if (!parsed.success) {
    const issues = parsed.error.issues.slice(0, 5).map(({ path, message }) => `${path.join('.') || 'the file'}: ${message}`);
    throw new TaskError('TASK_INVALID', `${source}: ${issues.join('; ')}`);
  }
  return parsed.data;
}

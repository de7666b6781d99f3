// A task is a small file. It says where its rows lie, what a model is asked about each of them, and what is measured.
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

/** One change to a text. The changes of a list are made in order. */
const cleaning = z.union([
  z.literal('strip'),
  z.strictObject({ replace: z.tuple([z.string(), z.string()]) }),
  z.strictObject({ pattern: z.tuple([z.string(), z.string()]) }),
]);

const shots = z.strictObject({
  count: z.number().int().min(1).max(100),
  split: z.string(),
  /** The text between one example and the next. */
  between: z.string().default('\n\n'),
});

/** The data set of the hub that the rows come from, at one commit: the file of each split, with its SHA-256 where it is known. */
const hub = z.strictObject({
  name: z.string().regex(/^[\w][\w.-]*\/[\w][\w.-]*@[0-9a-f]{40}$/, 'must be org/name@COMMIT, with all 40 digits of the commit'),
  files: z.record(
    z.string(),
    z.strictObject({
      path: z.string().regex(/\.(jsonl|parquet)(\.gz)?$/, 'must be the path of a .jsonl or .parquet file'),
      sha256: z
        .string()
        .regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hexadecimal')
        .optional(),
    }),
  ),
});

const common = {
  task: name,
  about: z.string().default(''),
  data: z.strictObject({
    folder: z.string().regex(/^(?!\.+$)[\w.-]+$/, 'must be the name of a folder in --task-data'),
    split: z.string(),
    hub: hub.optional(),
  }),
  clean: z.array(cleaning).default([]),
};

/** The place of the right answer among the choices: the number in this column, or the place at which `labels` has its value. */
const gold = { gold: z.string(), labels: z.union([z.string(), z.array(z.string())]).optional() };

const choiceMetrics = z.array(z.enum(['acc', 'acc_norm'])).min(1);

/** A question with one context and several continuations. */
const multipleChoice = z.strictObject({
  ...common,
  ...gold,
  kind: z.literal('choices').default('choices'),
  /** A text that stands once in front of the examples and the question. */
  description: z.string().default(''),
  prompt: z.string(),
  /** Templates of the choices, or the name of a column that holds a list of choices. */
  choices: z.union([z.string(), z.array(z.string()).min(2)]),
  /** The text that joins context and continuation. It does not count for the length of a choice. */
  delimiter: z.string().default(' '),
  metrics: choiceMetrics,
  shots: shots.optional(),
  /** A column whose values divide the rows into groups. Each group has its own examples, and the deviations of the groups are pooled. */
  group: z.string().optional(),
});

/** A question with several contexts and one continuation. */
const contexts = z.strictObject({
  ...common,
  ...gold,
  kind: z.literal('contexts'),
  contexts: z.array(z.string()).min(2),
  continuation: z.string(),
  delimiter: z.string().default(' '),
  metrics: z.array(z.enum(['acc'])).min(1),
});

/** A question with one context and one continuation: how likely the continuation is, and whether greedy decoding gives it. */
const continuation = z.strictObject({
  ...common,
  kind: z.literal('continuation'),
  prompt: z.string(),
  continuation: z.string(),
  delimiter: z.string().default(' '),
  metrics: z.array(z.enum(['acc', 'perplexity'])).min(1),
});

/** A whole text: each token is predicted from as many tokens before it as fit. Words and bytes are counted in the unchanged column. */
const rolling = z.strictObject({
  ...common,
  kind: z.literal('rolling'),
  text: z.string(),
  metrics: z.array(z.enum(['word_perplexity', 'byte_perplexity', 'bits_per_byte'])).min(1),
});

/** A text that the model writes after a prompt. It is compared with the row's answer, word for word. */
const generation = z.strictObject({
  ...common,
  kind: z.literal('generation'),
  /** `folders`: each folder inside the task's folder holds one group of questions. */
  data: common.data.extend({ groups: z.literal('folders').optional() }),
  /**
   * A text file in the task's folder whose content stands in front of the prompt; {{group}} in its name is replaced by the question's
   * group.
   */
  preface: z.strictObject({ file: z.string(), clean: z.array(cleaning).default([]), between: z.string().default('\n\n') }).optional(),
  prompt: z.string(),
  /** The column with the right answer. */
  answer: z.string(),
  /**
   * A regular expression that takes the answer from the text: the first group of the first match, or the whole match if it has no group.
   * Without an expression the whole text is the answer.
   */
  take: z.string().refine(isPattern, 'must be a valid regular expression').optional(),
  /** The text ends before the first occurrence of one of these texts. */
  until: z.array(z.string().min(1)).max(16).default([]),
  max_tokens: z.number().int().min(1).max(65_536).default(128),
  metrics: z.array(z.enum(['exact_match'])).min(1),
});

/** Means of the values of other tasks. */
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
type ContextsTask = z.infer<typeof contexts>;
type ContinuationTask = z.infer<typeof continuation>;
type RollingTask = z.infer<typeof rolling>;
export type GenerationTask = z.infer<typeof generation>;
export type MeanTask = z.infer<typeof mean>;
export type ScoredTask = ChoicesTask | ContextsTask | ContinuationTask | RollingTask | GenerationTask;
export type Task = ScoredTask | MeanTask;
export type Cleaning = z.infer<typeof cleaning>;

/** @param source the file's path, for errors */
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

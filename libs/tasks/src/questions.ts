// Makes questions from a task's rows and its declaration: texts whose likelihood a model is asked for, and the right answer.
import { createHash } from 'node:crypto';
import { join, relative, sep } from 'node:path';
import { listed, readSplit, ModelFilesError, type LocatedRow, type Row } from '#model-files';
import { LoopPauses } from './loop-pauses.js';
import type { ChoicesTask, GenerationTask, ScoredTask } from './declaration.js';
import { readPrefaces } from './prefaces.js';
import { characters, splitAtSpace } from './python-text.js';
import { firstRows, hasGroups } from './first-rows.js';
import { heldCharacters, invalidRow, requireSize, TASK_CHARACTERS_MAX, withinLimits } from './question-limits.js';
import { TaskError } from './task-error.js';
import { cleaner, compile, valueAt, type Template } from './template.js';

/** Asks how likely the continuation is after the context. */
export interface Pair {
  context: string;
  continuation: string;
}
export interface Question {
  /** The row's index in the split, counted from 0. */
  index: number;
  file: string;
  line: number;
  /** The question's group; '' where the task has no groups. */
  group: string;
  asks: { kind: 'pairs'; pairs: Pair[] } | { kind: 'whole'; text: string } | { kind: 'text'; prompt: string; answer: string };
  /** The index of the right choice; null: the question has no choices. */
  gold: number | null;
  /** The characters of each choice, without the delimiter between context and choice. */
  lengths: number[];
  words: number;
  bytes: number;
}
export interface TaskQuestions<Kind extends ScoredTask = ScoredTask> {
  task: Kind;
  questions: Question[];
  /** The number of rows in the split. The questions are the first of them, or the first of each group. */
  rowCount: number;
  /** The most questions of each group; null where the task has no groups or all rows are asked about. */
  limitOfGroup: number | null;
  /** The SHA-256 of the declaration, without its description of itself and the place where its data can be fetched. */
  promptDigest: string;
  /** The SHA-256 of the rows of all used splits, in the columns that the task names. */
  dataDigest: string;
}

/** A row, with its group where each folder of the data is a group. */
export type TaskRow = LocatedRow & { group?: string };

export interface QuestionOptions {
  /** The folder that holds a folder for each task. */
  dataFolder: string;
  /** The most questions, counted in each group where the task has groups; undefined: all questions. */
  limit?: number | undefined;
}

export async function readQuestions(task: ScoredTask, options: QuestionOptions): Promise<TaskQuestions> {
  const maker = questionMaker(task);
  const rows = await rowsOf(task, task.data.split, options);
  requireColumns(task, rows, maker.columns);
  const examples = task.kind === 'choices' && task.shots !== undefined ? await rowsOf(task, task.shots.split, options) : [];
  requireColumns(task, examples, maker.columns);
  const digest = createHash('sha256');
  const prefaces = task.kind === 'generation' ? await readPrefaces(task, rows, options) : new Map<string, string>();
  for (const [group, text] of prefaces) digest.update(`${JSON.stringify([group, text])}\n`);
  const pauses = new LoopPauses();
  for (const located of [...rows, ...examples]) {
    await pauses.ifDue();
    const named = Object.fromEntries([...maker.columns].map((name) => [name, located.row[name]]));
    digest.update(`${withinLimits(task, located, () => canonical(named))}\n`);
  }
  const asked = firstRows(task, rows, options.limit ?? rows.length);
  const questions: Question[] = [];
  let characters = 0;
  for (const [index, located] of asked) {
    await pauses.ifDue();
    const question = withinLimits(task, located, () => maker.question(located, index, examples, prefaces));
    requireSize(task, located, question.asks);
    characters += heldCharacters(question.asks);
    if (characters > TASK_CHARACTERS_MAX)
      throw new TaskError(
        'TASK_DATA_INVALID',
        `${task.task}: up to ${located.file}, line ${located.line}, it asks more than ${TASK_CHARACTERS_MAX} characters; ask fewer`,
      );
    questions.push(question);
  }
  return {
    task,
    questions,
    rowCount: rows.length,
    limitOfGroup: hasGroups(task) && asked.length < rows.length ? options.limit! : null,
    promptDigest: createHash('sha256')
      .update(canonical({ ...task, about: '', data: { ...task.data, hub: undefined } }))
      .digest('hex'),
    dataDigest: digest.digest('hex'),
  };
}

/** JSON with the fields of objects sorted by name. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    part === null || typeof part !== 'object' || Array.isArray(part)
      ? part
      : Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))),
  );
}

async function rowsOf(task: ScoredTask, split: string, { dataFolder }: QuestionOptions): Promise<TaskRow[]> {
  const folder = join(dataFolder, task.data.folder);
  const { rows, found, files }: { rows: TaskRow[]; found: string[]; files: string[] } = await readSplit(folder, split).catch(
    (error: unknown) => {
      if (!(error instanceof ModelFilesError)) throw error;
      if (error.code === 'DATA_NOT_FOUND')
        throw new TaskError('TASK_DATA_NOT_FOUND', `${task.task}: there is no folder ${folder}; the data of the task belong there`);
      throw new TaskError('TASK_DATA_INVALID', `${task.task}: ${error.message}`);
    },
  );
  if (files.length === 0) {
    const there = found.length === 0 ? 'no .jsonl or .parquet file' : `only ${found.slice(0, 10).join(', ')}`;
    const needed = `${split}.jsonl, ${split}.parquet or ${split}-*.parquet is needed`;
    throw new TaskError('TASK_DATA_NOT_FOUND', `${task.task}: ${folder} has no file of the split ${split}: ${needed}, there is ${there}`);
  }
  if (task.kind === 'generation' && task.data.groups === 'folders')
    for (const row of rows) row.group = relative(folder, row.file).split(sep).slice(0, -1)[0] ?? '';
  if (rows.length === 0) throw new TaskError('TASK_DATA_INVALID', `${task.task}: ${files.join(', ')} holds no rows`);
  return rows;
}

function requireColumns(task: ScoredTask, rows: LocatedRow[], columns: ReadonlySet<string>): void {
  for (const { row, file, line } of rows) {
    const missing = [...columns].filter((name) => row[name] === undefined || row[name] === null);
    if (missing.length === 0) continue;
    const what = missing.length === 1 ? 'column' : 'columns';
    throw new TaskError(
      'TASK_DATA_INVALID',
      `${task.task}: ${file}, line ${line}: the ${what} ${missing.join(', ')} must have a value (there are: ${listed(Object.keys(row))})`,
    );
  }
}

interface QuestionMaker {
  columns: ReadonlySet<string>;
  question(row: TaskRow, index: number, examples: LocatedRow[], prefaces: ReadonlyMap<string, string>): Question;
}

function questionMaker(task: ScoredTask): QuestionMaker {
  const clean = cleaner(task.clean, `${task.task}.clean`);
  const columns = new Set<string>();
  const template = (source: string, field: string): Template => {
    const made = compile(source, `${task.task}.${field}`);
    made.columns.forEach((name) => columns.add(name));
    return made;
  };
  const path = (source: string): string => {
    columns.add(source.replace(/\..*$/s, ''));
    return source;
  };
  const base = ({ file, line }: LocatedRow, index: number) => ({
    index,
    file,
    line,
    group: '',
    gold: null,
    lengths: [],
    words: 0,
    bytes: 0,
  });
  switch (task.kind) {
    case 'choices':
      return { columns, question: choicesMaker(task, clean, template, path, base) };
    case 'contexts': {
      const contexts = task.contexts.map((one, place) => template(one, `contexts.${place}`));
      const continuation = template(task.continuation, 'continuation');
      const gold = goldOf(task, path);
      return {
        columns,
        question: (row, index) => {
          const after = task.delimiter + clean(continuation.render(row.row));
          const pairs = contexts.map((one) => ({ context: clean(one.render(row.row)), continuation: after }));
          return {
            ...base(row, index),
            asks: { kind: 'pairs', pairs },
            gold: gold(row, pairs.length),
            lengths: pairs.map(() => characters(after)),
          };
        },
      };
    }
    case 'continuation': {
      const prompt = template(task.prompt, 'prompt');
      const continuation = template(task.continuation, 'continuation');
      return {
        columns,
        question: (row, index) => {
          const pair = { context: clean(prompt.render(row.row)), continuation: task.delimiter + clean(continuation.render(row.row)) };
          return { ...base(row, index), asks: { kind: 'pairs', pairs: [pair] }, gold: 0 };
        },
      };
    }
    case 'generation':
      return { columns, question: generationMaker(task, clean, template(task.prompt, 'prompt'), path(task.answer), base) };
    case 'rolling': {
      const column = path(task.text);
      return {
        columns,
        question: (row, index) => {
          const text = String(valueAt(row.row, column));
          return {
            ...base(row, index),
            asks: { kind: 'whole', text: clean(text) },
            words: splitAtSpace(text).length,
            bytes: Buffer.byteLength(text),
          };
        },
      };
    }
  }
}

function generationMaker(
  task: GenerationTask,
  clean: (text: string) => string,
  prompt: Template,
  answer: string,
  base: (row: LocatedRow, index: number) => Omit<Question, 'asks'>,
): QuestionMaker['question'] {
  const between = task.preface?.between ?? '';
  return (row, index, _, prefaces) => {
    const group = row.group ?? '';
    const preface = prefaces.get(group);
    const before = preface === undefined ? '' : preface + between;
    return {
      ...base(row, index),
      group,
      asks: { kind: 'text', prompt: before + clean(prompt.render(row.row)), answer: String(valueAt(row.row, answer)) },
    };
  };
}

function choicesMaker(
  task: ChoicesTask,
  clean: (text: string) => string,
  template: (source: string, field: string) => Template,
  path: (source: string) => string,
  base: (row: LocatedRow, index: number) => Omit<Question, 'asks'>,
): QuestionMaker['question'] {
  const description = template(task.description, 'description');
  const prompt = template(task.prompt, 'prompt');
  const choices =
    typeof task.choices === 'string' ? path(task.choices) : task.choices.map((one, place) => template(one, `choices.${place}`));
  const group = task.group === undefined ? null : path(task.group);
  const gold = goldOf(task, path);
  const groupOf = (row: Row): string => (group === null ? '' : String(valueAt(row, group)));
  const choicesOf = (located: LocatedRow): string[] => {
    if (typeof choices !== 'string') return choices.map((one) => clean(one.render(located.row)));
    const value = valueAt(located.row, choices);
    if (Array.isArray(value) && value.length > 1) return value.map((one) => clean(String(one)));
    throw invalidRow(task, located, `${choices} must be a list of two or more choices`);
  };
  const shotsOf = remembered((name: string, examples: LocatedRow[]): string => {
    if (task.shots === undefined) return '';
    const { count, between, split } = task.shots;
    const taken = examples.filter(({ row }) => groupOf(row) === name).slice(0, count);
    if (taken.length < count) {
      const where = name === '' ? '' : ` of ${task.group} ${name}`;
      throw new TaskError(
        'TASK_DATA_INVALID',
        `${task.task}: the split ${split} has ${taken.length} rows${where}; ${count} shots are needed`,
      );
    }
    return taken
      .map((row) => {
        const answers = choicesOf(row);
        return clean(prompt.render(row.row)) + task.delimiter + answers[gold(row, answers.length)]! + between;
      })
      .join('');
  });
  return (row, index, examples) => {
    const name = groupOf(row.row);
    const context = description.render(row.row) + shotsOf(name, examples) + clean(prompt.render(row.row));
    const answers = choicesOf(row);
    const pairs = answers.map((answer) => ({ context, continuation: task.delimiter + answer }));
    return {
      ...base(row, index),
      group: name,
      asks: { kind: 'pairs', pairs },
      gold: gold(row, answers.length),
      lengths: answers.map(characters),
    };
  };
}

/** Caches results by the first argument. The other arguments must be the same at each call. */
function remembered<Rest extends unknown[], T>(make: (key: string, ...rest: Rest) => T): (key: string, ...rest: Rest) => T {
  const made = new Map<string, T>();
  return (key, ...rest) => {
    const known = made.get(key) ?? make(key, ...rest);
    made.set(key, known);
    return known;
  };
}

function goldOf(
  task: Pick<ChoicesTask, 'task' | 'gold' | 'labels'>,
  path: (source: string) => string,
): (row: LocatedRow, choices: number) => number {
  const column = path(task.gold);
  const labels = typeof task.labels === 'string' ? path(task.labels) : task.labels;
  return (located, choices) => {
    const value = valueAt(located.row, column);
    const names = typeof labels === 'string' ? valueAt(located.row, labels) : labels;
    const place = Array.isArray(names) ? names.map(String).indexOf(String(value)) : Number(String(value).trim() === '' ? NaN : value);
    if (Number.isInteger(place) && place >= 0 && place < choices) return place;
    const allowed = Array.isArray(names) ? `one of ${names.join(', ')}` : `a number from 0 to ${choices - 1}`;
    throw invalidRow(task, located, `${column} is ${JSON.stringify(value)}; ${allowed} is allowed`);
  };
}

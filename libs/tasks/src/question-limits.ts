// Limits the size of one question, and of all questions of a task.
import type { LocatedRow } from '#model-files';
import type { ScoredTask } from './declaration.js';
import type { Question } from './questions.js';
import { TaskError } from './task-error.js';

/** Most tasks have a few choices, some have a hundred. */
const CHOICES_MAX = 1_000;
/** The characters that are encoded for a question: each of its contexts together with each of its continuations. */
const QUESTION_CHARACTERS_MAX = 1 << 24;
/** The characters of all questions of a task, which are in memory together. */
export const TASK_CHARACTERS_MAX = 1 << 29;

export function requireSize(task: ScoredTask, row: LocatedRow, asks: Question['asks']): void {
  const pairs = asks.kind === 'pairs' ? asks.pairs : [];
  if (pairs.length > CHOICES_MAX) throw invalidRow(task, row, `it has ${pairs.length} choices; at most ${CHOICES_MAX} are allowed`);
  const characters = encodedCharacters(asks);
  if (characters > QUESTION_CHARACTERS_MAX)
    throw invalidRow(task, row, `its texts have ${characters} characters together; at most ${QUESTION_CHARACTERS_MAX} are allowed`);
}

/** The characters that are encoded for a question. Each choice is encoded with its context in front. */
export function encodedCharacters(asks: Question['asks']): number {
  if (asks.kind === 'whole') return asks.text.length;
  if (asks.kind === 'text') return asks.prompt.length;
  return asks.pairs.reduce((sum, one) => sum + one.context.length + one.continuation.length, 0);
}

/** The characters that a question holds in memory, which is about what a model reads: equal contexts of a question are held once. */
export function heldCharacters(asks: Question['asks']): number {
  if (asks.kind === 'whole') return asks.text.length;
  if (asks.kind === 'text') return asks.prompt.length;
  const contexts = new Set(asks.pairs.map(({ context }) => context));
  return [...contexts].reduce((sum, one) => sum + one.length, 0) + asks.pairs.reduce((sum, one) => sum + one.continuation.length, 0);
}

/**
 * Runs `make`, and reports the template language's own limits, on the length of a text and on how deeply values nest, as errors of the row.
 */
export function withinLimits<T>(task: ScoredTask, row: LocatedRow, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof RangeError)
      throw invalidRow(task, row, `its text gets too long, or its values are nested too deeply (${error.message})`);
    throw error;
  }
}

export function invalidRow({ task }: Pick<ScoredTask, 'task'>, { file, line }: LocatedRow, what: string): TaskError {
  return new TaskError('TASK_DATA_INVALID', `${task}: ${file}, line ${line}: ${what}`);
}

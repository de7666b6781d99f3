// The entry of a process that reads the tasks that were asked for and sends their questions.
import { readingProcess } from '#model-files';
import { findTasks } from './find-tasks.js';
import { encodedCharacters } from './question-limits.js';
import { readQuestions, type Question } from './questions.js';
import type { ReadTasksTask, TaskMessage } from './read-tasks.js';
import { TaskError } from './task-error.js';

const CHARACTERS_PER_MESSAGE = 1 << 20;

void readingProcess<TaskMessage>(async (task, { send }) => {
  const { names, ...options } = task as ReadTasksTask;
  try {
    const { scored, means } = await findTasks(names);
    for (const one of scored) {
      send({ kind: 'begins', task: one.task });
      const { questions, ...read } = await readQuestions(one, options);
      send({ kind: 'task', read });
      for (const some of portions(questions)) send({ kind: 'questions', questions: some });
    }
    send({ kind: 'done', means });
  } catch (error) {
    const message = error instanceof TaskError ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error);
    send({ kind: 'failed', code: error instanceof TaskError ? error.code : undefined, message });
  }
});

function* portions(questions: readonly Question[]): Generator<Question[]> {
  let some: Question[] = [];
  let characters = 0;
  for (const question of questions) {
    some.push(question);
    characters += encodedCharacters(question.asks);
    if (characters < CHARACTERS_PER_MESSAGE) continue;
    yield some;
    some = [];
    characters = 0;
  }
  yield some;
}

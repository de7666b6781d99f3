// Reads tasks and their questions in a process of its own. Declarations and data are written by users, and a template or a pattern may run
// for ever.
import { programFile } from '#files';
import { messagesFrom, startReading } from '#model-files';
import type { MeanTask } from './declaration.js';
import type { Question, QuestionOptions, TaskQuestions } from './questions.js';
import { TaskError, type TaskErrorCode } from './task-error.js';

export interface ReadTasks {
  tasks: TaskQuestions[];
  means: MeanTask[];
}
export interface ReadTasksOptions extends QuestionOptions {
  signal?: AbortSignal | undefined;
  /** The longest time, in ms, that one question may take. */
  silenceMs?: number;
}

/** @internal */
export interface ReadTasksTask extends QuestionOptions {
  names: string[];
}
/** @internal */
export type TaskMessage =
  | { kind: 'begins'; task: string }
  | { kind: 'task'; read: Omit<TaskQuestions, 'questions'> }
  /** These questions belong to the last `task` message. */
  | { kind: 'questions'; questions: Question[] }
  | { kind: 'done'; means: MeanTask[] }
  | { kind: 'failed'; code: TaskErrorCode | undefined; message: string };

const SILENCE_MS = 20_000;

/** @param names names or paths, see `findTasks` @throws TaskError, or the signal's reason */
export async function readTasks(names: readonly string[], options: ReadTasksOptions): Promise<ReadTasks> {
  const { signal, silenceMs = SILENCE_MS, dataFolder, limit } = options;
  const task: ReadTasksTask = { names: [...names], dataFolder, limit };
  const reader = startReading(programFile(new URL('./task-reading-process.js', import.meta.url)), task);
  let subject = 'the tasks';
  const messages = messagesFrom<TaskMessage>(reader, {
    silenceMs,
    signal,
    silent: () =>
      new TaskError(
        'TASK_INVALID',
        `${subject}: given up after ${Math.round(silenceMs / 1000)} s without a question: a template or pattern may run for ever`,
      ),
    tooLarge: () => new TaskError('TASK_DATA_INVALID', `${subject}: to make questions of it takes more memory than there is`),
  });
  const tasks: TaskQuestions[] = [];
  try {
    for await (const message of messages) {
      switch (message.kind) {
        case 'begins':
          subject = message.task;
          break;
        case 'task':
          tasks.push({ ...message.read, questions: [] });
          break;
        case 'questions': {
          const { questions } = tasks.at(-1)!;
          for (const one of message.questions) questions.push(sharing(one));
          break;
        }
        case 'done':
          return { tasks, means: message.means };
        case 'failed':
          throw message.code === undefined ? new Error(message.message) : new TaskError(message.code, message.message);
      }
    }
    throw new Error('unreachable: the messages end with an error or "done"');
  } finally {
    reader.kill('SIGKILL');
  }
}

/** Makes the choices of a question share one context string, because the message held a copy for each. */
function sharing(question: Question): Question {
  const { asks } = question;
  if (asks.kind === 'pairs') {
    const contexts = new Map<string, string>();
    for (const pair of asks.pairs) {
      const known = contexts.get(pair.context);
      if (known === undefined) contexts.set(pair.context, pair.context);
      else pair.context = known;
    }
  }
  return question;
}

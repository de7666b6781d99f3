// Finds tasks by their names, for built-in ones, or by paths of users' own files.
import { readdir } from 'node:fs/promises';
import { basename, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readUserFile, UserFileError } from '#files';
import { parseTask, type MeanTask, type ScoredTask, type Task } from './declaration.js';
import { TaskError } from './task-error.js';

/** The folder of built-in tasks in the repository. Compiled files lie four folders below the repository. */
const BUILT_IN = fileURLToPath(new URL('../../../../tasks', import.meta.url));
const DECLARATION_BYTES_MAX = 1 << 18;
const ENDING = /\.ya?ml$/;

export async function builtInTasks(): Promise<string[]> {
  return (await readdir(BUILT_IN))
    .filter((name) => ENDING.test(name))
    .map((name) => name.replace(ENDING, ''))
    .sort();
}

export interface WantedTasks {
  /** The tasks in the order in which they were asked for, each once. Tasks that a mean needs stand where the mean was named. */
  scored: ScoredTask[];
  means: MeanTask[];
}

/** @param names names of built-in tasks, or absolute paths of files that end in .yaml or .yml */
export async function findTasks(names: readonly string[]): Promise<WantedTasks> {
  const known = await builtInTasks();
  const asked: (string | Task)[] = [];
  for (const name of new Set(names)) asked.push(ENDING.test(name) ? await read(name) : name);
  const own = new Map<string, Task>();
  for (const task of asked.filter((one) => typeof one !== 'string')) {
    if (own.has(task.task)) throw new TaskError('TASK_INVALID', `two of the task files declare ${task.task}`);
    own.set(task.task, task);
  }
  const scored = new Map<string, ScoredTask>();
  const means = new Map<string, MeanTask>();
  const add = async (name: string): Promise<void> => {
    const task = own.get(name) ?? (await read(builtIn(name, known)));
    if (task.kind !== 'mean') scored.set(task.task, task);
    else if (!means.has(task.task)) {
      means.set(task.task, task);
      for (const member of new Set(task.means.flatMap(({ of }) => Object.keys(of)))) await add(member);
      requireMembers(task, scored);
    }
  };
  for (const one of asked) await add(typeof one === 'string' ? one : one.task);
  return { scored: [...scored.values()], means: [...means.values()] };
}

/** Checks that the members of a mean have the metrics that the mean is over. */
function requireMembers({ task, means }: MeanTask, scored: ReadonlyMap<string, ScoredTask>): void {
  for (const [member, metric] of means.flatMap(({ of }) => Object.entries(of))) {
    const metrics: readonly string[] = scored.get(member)?.metrics ?? [];
    if (metrics.includes(metric)) continue;
    const has = scored.has(member) ? `has ${metrics.join(', ')}` : 'is a mean itself';
    throw new TaskError('TASK_INVALID', `${task}: it is over ${metric} of ${member}, which ${has}`);
  }
}

function builtIn(name: string, known: string[]): string {
  if (known.includes(name)) return join(BUILT_IN, `${name}.yaml`);
  throw new TaskError(
    'TASK_NOT_FOUND',
    `there is no task ${JSON.stringify(name)}: the built-in ones are ${known.join(', ')}; a file of your own ends in .yaml`,
  );
}

async function read(path: string): Promise<Task> {
  if (!isAbsolute(path)) throw new TaskError('TASK_NOT_FOUND', `${path}: the path of a task file must be absolute`);
  let bytes: Buffer;
  try {
    bytes = await readUserFile(path, DECLARATION_BYTES_MAX);
  } catch (error) {
    if (error instanceof UserFileError) throw new TaskError('TASK_NOT_FOUND', `the task file ${path} can't be read: ${error.message}`);
    throw error;
  }
  return parseTask(bytes.toString('utf8'), path.startsWith(BUILT_IN) ? basename(path) : path);
}

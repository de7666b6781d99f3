// Reads the tasks that a request names, and checks them as far as that needs no engine.
import { isAbsolute } from 'node:path';
import { readTasks, type ReadTasks } from '#tasks';
import { invalidField, type v1 } from '#protocol';
import type { ComputeDtype } from './task-records.js';

export async function tasksOf({ tasks: names, taskDataPath, limit }: v1.EvaluateTasksRequest, signal: AbortSignal): Promise<ReadTasks> {
  if (names.length === 0) throw invalidField('FIELD_REQUIRED', 'tasks', 'is empty: names of tasks are needed');
  if (taskDataPath === '')
    throw invalidField('FIELD_REQUIRED', 'task_data_path', 'is empty: a folder with a folder for each task is needed');
  if (!isAbsolute(taskDataPath))
    throw invalidField('FIELD_OUT_OF_RANGE', 'task_data_path', `is ${taskDataPath}: it must be an absolute path`);
  return readTasks(names, { dataFolder: taskDataPath, limit: limit === 0 ? undefined : limit, signal });
}

export function computeDtypeOf(name: string): ComputeDtype {
  if (name === '' || name === 'f32') return 'f32';
  if (name === 'bf16') return 'bf16';
  throw invalidField('FIELD_UNKNOWN_VALUE', 'compute_dtype', `is "${name}"; allowed are f32 and bf16`);
}

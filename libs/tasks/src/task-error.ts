/** Stable codes, which clients receive unchanged. */
export type TaskErrorCode = 'TASK_NOT_FOUND' | 'TASK_INVALID' | 'TASK_DATA_NOT_FOUND' | 'TASK_DATA_INVALID';

/** The field of the request that each code is about. */
const FIELDS: Record<TaskErrorCode, string> = {
  TASK_NOT_FOUND: 'tasks',
  TASK_INVALID: 'tasks',
  TASK_DATA_NOT_FOUND: 'task_data_path',
  TASK_DATA_INVALID: 'task_data_path',
};

export class TaskError extends Error {
  readonly field: string;

  constructor(
    readonly code: TaskErrorCode,
    message: string,
  ) {
    super(message);
    this.name = 'TaskError';
    this.field = FIELDS[code];
  }
}

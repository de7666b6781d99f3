// Reads the texts that stand in front of the questions of a group, such as worked examples. Each is a file beside the rows.
import { join, normalize } from 'node:path';
import { readUserFile, UserFileError } from '#files';
import type { GenerationTask } from './declaration.js';
import type { QuestionOptions, TaskRow } from './questions.js';
import { TaskError } from './task-error.js';
import { cleaner } from './template.js';

const PREFACE_BYTES_MAX = 1 << 20;

/** Returns the texts by the names of their groups. */
export async function readPrefaces(
  { task, data, preface }: GenerationTask,
  rows: readonly TaskRow[],
  { dataFolder }: QuestionOptions,
): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  if (preface === undefined) return texts;
  const folder = join(dataFolder, data.folder);
  const clean = cleaner(preface.clean, `${task}.preface.clean`);
  for (const group of new Set(rows.map((row) => row.group ?? ''))) {
    const path = join(folder, preface.file.replaceAll('{{group}}', group));
    if (!normalize(path).startsWith(normalize(`${folder}/`)))
      throw new TaskError('TASK_INVALID', `${task}: preface.file is ${preface.file}; a file in the folder of the task is allowed`);
    try {
      texts.set(group, clean((await readUserFile(path, PREFACE_BYTES_MAX)).toString('utf8')));
    } catch (error) {
      if (!(error instanceof UserFileError)) throw error;
      const what = group === '' ? 'the questions' : `the questions of ${group}`;
      throw new TaskError('TASK_DATA_NOT_FOUND', `${task}: the text in front of ${what} can't be read: ${error.message}`);
    }
  }
  return texts;
}

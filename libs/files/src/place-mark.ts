// Some files say something about the folder that they lie in: which server has it, by which secrets. A copy of the folder has these files
// too, and in the copy they are wrong. So such a file bears the mark of its folder.
import { statSync } from 'node:fs';

/** Tells a folder from every other one, its copies too. It stays the same when the folder is renamed. */
export function placeMark(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true });
  return `${dev}:${ino}`;
}

/** False also where the folder is gone. */
export function hasMark(path: string, mark: string): boolean {
  try {
    return placeMark(path) === mark;
  } catch {
    return false;
  }
}

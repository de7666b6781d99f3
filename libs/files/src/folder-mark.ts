// Some files say something about the folder that they lie in: which server owns it, and with which secrets. In a copy of the folder these
// files are copied too, but what they say is wrong there. So each of these files bears the mark of its folder.
import { statSync } from 'node:fs';

/** A mark that tells a folder from every other folder, its copies too. It stays the same when the folder is renamed. */
export function folderMark(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true });
  return `${dev}:${ino}`;
}

/** Tells whether the folder has the mark. False also where the folder is gone. */
export function hasMark(path: string, mark: string): boolean {
  try {
    return folderMark(path) === mark;
  } catch {
    return false;
  }
}

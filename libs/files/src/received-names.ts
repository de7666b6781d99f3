// Names of files that came in a message. They become paths, so their sender must not be able to choose a place outside the folder.
import { join } from 'node:path';

const PLAIN_NAME = /^\w[\w.+-]{0,199}(\/\w[\w.+-]{0,199})*$/;

/** Tells whether a received name stands for a file in a folder or in folders below it, and hides none: no part of it begins with a dot. */
export const isPlainName = (name: string): boolean => PLAIN_NAME.test(name);

/** Returns the path of the file of this name in the folder. Every received name passes here before a file of it is written. */
export function pathInside(folder: string, name: string): string {
  if (!isPlainName(name)) throw new Error(`a file was named ${JSON.stringify(name)}, which is not a plain name inside a folder`);
  return join(folder, name);
}

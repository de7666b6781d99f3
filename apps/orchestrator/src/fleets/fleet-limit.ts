// The number of engines that an admin has set by command in place of the file's. It outlives the server, and holds until the file says
// another number.
import { readFileSync, rmSync } from 'node:fs';
import { writeOwnFile } from '#files';

export interface FleetLimit {
  maxEngines: number;
  /** Whether engines that work end once their work is done. */
  isDrained: boolean;
  /** The caller who set the limit. */
  by: string;
  at: string;
  /** The file's own number at that time. */
  inPlaceOf: number;
}

/** @throws SyntaxError where the file holds no limit */
export function readLimit(file: string): FleetLimit | null {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const { maxEngines, isDrained, by, at, inPlaceOf } = JSON.parse(text) as Partial<FleetLimit>;
  const isLimit = Number.isSafeInteger(maxEngines) && maxEngines! >= 0 && Number.isSafeInteger(inPlaceOf);
  if (!isLimit || typeof isDrained !== 'boolean' || typeof by !== 'string' || typeof at !== 'string')
    throw new SyntaxError(`${file} holds no limit of a fleet`);
  return { maxEngines: maxEngines!, isDrained, by, at, inPlaceOf: inPlaceOf! };
}

/** @param limit null: the file's own number holds again */
export function writeLimit(file: string, limit: FleetLimit | null): void {
  if (limit === null) rmSync(file, { force: true });
  else writeOwnFile(file, `${JSON.stringify(limit)}\n`);
}

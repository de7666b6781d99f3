// The start of a process or a thread of Espalier: its file, and the environment of a process that connects to no other machine.
import { statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const COMPILED = fileURLToPath(new URL('../../../', import.meta.url)); // dist/
/** The compiler writes this file whenever it writes any other. */
const COMPILERS_RECORD = '.tsbuildinfo';

/**
 * Returns the bundle of a compiled program, which starts in less than half the time (scripts/bundle.mjs). Returns the compiled file itself
 * where there is no bundle or the bundle is older: a developer who compiles and does not bundle must not run the old program.
 */
export function programFile(program: URL, compiled = COMPILED): string {
  const file = fileURLToPath(program);
  const bundle = join(compiled, 'bundles', relative(compiled, file));
  return timeOf(bundle) > timeOf(join(compiled, COMPILERS_RECORD)) ? bundle : file;
}

/**
 * Returns the environment of a process that connects to no other machine. At each start, Node would read the authorities that its user adds
 * (NODE_EXTRA_CA_CERTS), which is most of the time of a short start.
 */
export const offlineEnvironment = (): NodeJS.ProcessEnv => ({ ...process.env, NODE_EXTRA_CA_CERTS: '' });

/** The time of the last change in ms; 0 where there is no file. */
function timeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

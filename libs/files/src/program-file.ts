// The file by which a process of ours, or a thread, is started.
import { statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const COMPILED = fileURLToPath(new URL('../../../', import.meta.url)); // dist/
/** The compiler writes it whenever it writes anything. */
const COMPILERS_RECORD = '.tsbuildinfo';

/**
 * The bundle of a compiled program, which starts in less than half the time (scripts/bundle.mjs). The compiled file itself where there is
 * no bundle, or an older one: a developer who compiles and doesn't bundle must not run the old program.
 */
export function programFile(program: URL, compiled = COMPILED): string {
  const file = fileURLToPath(program);
  const bundle = join(compiled, 'bundles', relative(compiled, file));
  return timeOf(bundle) > timeOf(join(compiled, COMPILERS_RECORD)) ? bundle : file;
}

/** 0 for what is not there. */
function timeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

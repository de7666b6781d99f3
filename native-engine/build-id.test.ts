// The digest of the sources that decide bits, as build_id.cmake makes it: with a new digest, earlier runs can't go on with equal bits.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('../../native-engine/build_id.cmake', import.meta.url));
const SOURCE = `#include "training/step.h"

// One step.
double step(double x) {
  const char* where = "a // b"; // not a comment in there
  // Thirds.
  return x / 3;
}
`;
const folder = mkdtempSync(join(tmpdir(), 'espalier-build-id-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Returns the digest of a step with only this source. The source lies in the given folder of an engine, beside empty folders `inner`. */
function digestOf(source: string, { home = 'core/training', inner = [] as string[] } = {}): string {
  const [engine, build] = [join(folder, 'engine'), join(folder, 'build')];
  rmSync(engine, { recursive: true, force: true });
  for (const path of [...[home, 'backends', ...inner].map((name) => join(engine, name)), build]) mkdirSync(path, { recursive: true });
  const file = join(engine, home, 'step.cpp');
  writeFileSync(file, source);
  writeFileSync(join(build, 'step.cpp.o.d'), `step.cpp.o: \\\n ${file}\n`);
  const values = {
    ENGINE_DIR: engine,
    BUILD_DIR: build,
    SOURCE: join(build, 'id.cpp'),
    OBJECTS: build,
    ROOTS: 'core/training',
    COMPILER: 'a compiler',
    STEP_OPTIONS: '-O2',
  };
  execFileSync('cmake', [...Object.entries(values).map(([name, value]) => `-D${name}=${value}`), '-P', SCRIPT]);
  return /kStepSources = "([0-9a-f]{12})"/.exec(readFileSync(values.SOURCE, 'utf8'))![1]!;
}

test.each([
  ['another comment', '// One step.', '// A single step, and more words.'],
  ['a comment of more lines', '// One step.', '// One step.\n// It divides by three.\n'],
  ['an indented comment of more lines', '  // Thirds.', '  // Thirds of x,\n  // as they are.'],
  ['no indented comment', '  // Thirds.\n', ''],
  ['no comment', '// One step.\n', ''],
  ['another comment behind a statement', '; // not a comment in there', ';  // gone'],
])('%s leaves the digest as it is', (_, before, after) => {
  expect(SOURCE).toContain(before);
  expect(digestOf(SOURCE.replace(before, after))).toBe(digestOf(SOURCE));
});

test('an inner folder of a part leaves it as it is, of its own file and of those that it includes in the order of their names', () => {
  const includes = (...names: string[]): string => names.map((name) => `#include "${name}"\n`).join('') + SOURCE;
  const before = digestOf(includes('espalier/state.h', 'method/one_shot.h', 'method/random.h', 'rows.h'));
  const inner = ['core/method/words', 'core/include/espalier/training', 'backends/cpu/kernels/attention'];
  const after = includes('attention/rows.h', 'espalier/training/state.h', 'method/one_shot.h', 'method/words/random.h');
  expect(digestOf(after, { home: 'core/training/steps', inner })).toBe(before);
  expect(digestOf(after, { home: 'core/training/steps', inner: inner.slice(1) })).not.toBe(before);
  expect(digestOf(includes('method/one_shot.h'))).not.toBe(digestOf(includes('model/one_shot.h')));
});

test.each([
  ['a number', 'x / 3', 'x / 4'],
  ['what stands in quotes behind two slashes', 'a // b', 'a // c'],
  ['a statement that becomes a comment', '  return', '  // return'],
])('%s changes it', (_, before, after) => {
  expect(SOURCE).toContain(before);
  expect(digestOf(SOURCE.replace(before, after))).not.toBe(digestOf(SOURCE));
});

// Tests which file a process is started from, and how a bundle starts.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { programFile } from './program-file.js';

const dist = mkdtempSync(join(tmpdir(), 'espalier-dist-'));
afterAll(() => rmSync(dist, { recursive: true }));

function write(file: string, second: number): string {
  const path = join(dist, file);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, '');
  utimesSync(path, second, second);
  return path;
}

test('a program is started by its bundle, unless something was compiled since', () => {
  const compiled = write('apps/engine/src/main.js', 100);
  const started = (): string => programFile(pathToFileURL(compiled), dist);
  expect(started()).toBe(compiled); // there is no bundle yet
  const bundle = write('bundles/apps/engine/src/main.js', 300);
  write('.tsbuildinfo', 200);
  expect(started()).toBe(bundle);
  write('.tsbuildinfo', 400);
  expect(started()).toBe(compiled);
  rmSync(join(dist, '.tsbuildinfo'));
  expect(started()).toBe(bundle); // a copy without the compiler's record is never compiled again, so its bundle counts
});

describe('a bundled program', () => {
  const program = join(dist, 'program');
  const code = join(program, 'code');
  const run = (): string => execFileSync(process.execPath, [join(program, 'main.js'), 'you'], { encoding: 'utf8' });
  /** The files of the code cache, and the time when each was written. */
  const kept = (): Record<string, number> => {
    const [folder] = readdirSync(code) as [string];
    return Object.fromEntries(readdirSync(join(code, folder)).map((name) => [name, statSync(join(code, folder, name)).mtimeMs]));
  };

  beforeAll(() => {
    mkdirSync(program);
    copyFileSync(fileURLToPath(new URL('../../../../scripts/bundled-start.cjs', import.meta.url)), join(program, 'start.js'));
    const file = (name: string, text: string): void => writeFileSync(join(program, name), text);
    file('package.json', '{ "type": "commonjs" }');
    file('main.js', "require('./start.js')('main', require.resolve('./main-1.js'));");
    file('main-1.js', "const { greeting } = require('./part-1.js');\nconsole.log(greeting(process.argv[2]));");
    file('part-1.js', "const { sep } = require('node:path');\nexports.greeting = (whom) => `hello ${whom}${sep}`;");
  });

  test('keeps the code of its first start for the next ones', () => {
    expect(run()).toBe('hello you/\n');
    const first = kept();
    expect(Object.keys(first)).toEqual(['main-1.js', 'part-1.js']);
    expect(run()).toBe('hello you/\n');
    expect(kept()).toEqual(first);
  });

  test('compiles again what was kept and is cut', () => {
    const [folder] = readdirSync(code) as [string];
    const part = join(code, folder, 'part-1.js');
    const { size } = statSync(part);
    truncateSync(part, size / 2);
    expect(run()).toBe('hello you/\n');
    expect(statSync(part).size).toBe(size);
  });

  test('runs where nothing can be kept', () => {
    rmSync(code, { recursive: true });
    writeFileSync(code, 'in the way');
    expect(run()).toBe('hello you/\n');
  });
});

// Which file a process is started with.
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
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
  expect(started()).toBe(compiled); // never bundled
  const bundle = write('bundles/apps/engine/src/main.js', 300);
  write('.tsbuildinfo', 200);
  expect(started()).toBe(bundle);
  write('.tsbuildinfo', 400);
  expect(started()).toBe(compiled);
  rmSync(join(dist, '.tsbuildinfo'));
  expect(started()).toBe(bundle); // a copy without the compiler's record is not compiled into
});

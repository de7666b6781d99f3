import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { halfBuiltText } from '#files';

test('an installation without compiled SQLite says what to run, and other errors are not taken for it', () => {
  const missing = new Error('Could not locate the bindings file. Tried:\n → /app/node_modules/better-sqlite3/build/better_sqlite3.node');
  expect(halfBuiltText(missing)).toMatch(/only half built.*: run "npm run build"$/);
  expect(halfBuiltText(new Error('unable to open database file'))).toBeNull();
  expect(halfBuiltText('Could not locate the bindings file')).toBeNull();
});

describe('an installed package', () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-installed-'));
  const packages = join(folder, 'node_modules');
  const binaries = join(packages, `espalier-${process.platform}-${process.arch}`);
  const built = join(packages, 'espalier/native-engine/build');
  const sqlite = `sqlite-${process.versions.modules}.node`;
  const write = (file: string, text = ''): void => {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  };
  const manifest = (of: string, engineSources?: string): void =>
    write(join(of, 'package.json'), JSON.stringify({ type: 'module', version: '1.0.0', engineSources }));
  /** Asks the installation in the folder, in a process of its own. */
  const asked = (environment: NodeJS.ProcessEnv = {}): Record<string, unknown> => {
    const { ESPALIER_NATIVE_ADDON: _, ESPALIER_CUDA: __, ...env } = { ...process.env };
    const script = `import * as i from './node_modules/espalier/dist/libs/files/src/installation.js';
      console.log(JSON.stringify({ engine: i.nativeAddon(), sqlite: i.sqliteAddon(), unbuilt: i.unbuiltParts() }));`;
    const text = execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd: folder, env: { ...env, ...environment } });
    const { engine, sqlite: database, unbuilt } = JSON.parse(text.toString()) as { engine: string; sqlite: string; unbuilt: string[] };
    return { engine: relative(packages, dirname(engine)), sqlite: relative(packages, dirname(database)), unbuilt };
  };
  const OWN = 'espalier/native-engine/build';
  const BINARIES = relative(packages, binaries);

  beforeEach(() => {
    rmSync(packages, { recursive: true, force: true });
    manifest(join(packages, 'espalier'), 'digest');
    const compiled = fileURLToPath(new URL('./installation.js', import.meta.url));
    mkdirSync(join(packages, 'espalier/dist/libs/files/src'), { recursive: true });
    cpSync(compiled, join(packages, 'espalier/dist/libs/files/src/installation.js'));
    manifest(binaries, 'digest');
    for (const file of ['espalier_native.node', sqlite]) write(join(binaries, file));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('uses the binary package of its machine, and builds nothing', () => {
    expect(asked()).toEqual({ engine: BINARIES, sqlite: BINARIES, unbuilt: [] });
  });

  test('builds both parts where there is no binary package, or one that was made from other sources', () => {
    manifest(binaries, 'another digest');
    expect(asked()).toEqual({ engine: OWN, sqlite: OWN, unbuilt: ['engine', 'sqlite'] });
    rmSync(binaries, { recursive: true });
    expect(asked()).toEqual({ engine: OWN, sqlite: OWN, unbuilt: ['engine', 'sqlite'] });
    for (const file of ['espalier_native.node', sqlite]) write(join(built, file));
    expect(asked()).toEqual({ engine: OWN, sqlite: OWN, unbuilt: [] });
  });

  test('does not use a binary package where it has no digest of its sources itself, as a package of a clone', () => {
    manifest(join(packages, 'espalier'));
    manifest(binaries);
    expect(asked()).toEqual({ engine: OWN, sqlite: OWN, unbuilt: ['engine', 'sqlite'] });
  });

  test('builds an engine of its own where CUDA is asked for, and uses it from then on', () => {
    expect(asked({ ESPALIER_CUDA: 'ON' })).toEqual({ engine: BINARIES, sqlite: BINARIES, unbuilt: ['engine'] });
    write(join(built, 'espalier_native.node'));
    expect(asked({ ESPALIER_CUDA: 'ON' })).toEqual({ engine: OWN, sqlite: BINARIES, unbuilt: [] });
    expect(asked()).toEqual({ engine: OWN, sqlite: BINARIES, unbuilt: [] });
  });

  test('builds SQLite alone for a Node that the binary package does not know', () => {
    rmSync(join(binaries, sqlite));
    expect(asked()).toEqual({ engine: BINARIES, sqlite: OWN, unbuilt: ['sqlite'] });
  });
});

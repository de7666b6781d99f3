// Tests the files of the npm package. Packing and installing it takes long, so scripts/try-package.mjs does that by hand.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

const ROOT = process.cwd();
const text = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const sources = execFileSync('git', ['ls-files', 'apps', 'libs', 'native-engine', 'tasks', 'examples', 'loaders'], { encoding: 'utf8' })
  .trim()
  .split('\n');
const product = sources.filter((file) => /\.tsx?$/.test(file) && !/\.test\.ts$|\/(test|testing)\/|testing\.ts$/.test(file));

describe('the npm package', () => {
  const [listed] = JSON.parse(
    execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  ) as { files: { path: string }[] }[];
  const packed = listed!.files.map(({ path }) => path);
  const has = (path: string): boolean => packed.some((file) => file === path || file.startsWith(`${path.replace(/\/$/, '')}/`));
  const manifest = JSON.parse(text('package.json')) as { bin: { espalier: string }; dependencies: Record<string, string> };

  it('has each file that a program names by its place', () => {
    const named = product
      .filter((file) => !file.startsWith('apps/dashboard/'))
      .flatMap((file) => [...text(file).matchAll(/new URL\('([^']+)',\s*import\.meta\.url\)/g)].map(([, url]) => [file, url!] as const))
      .map(([file, url]) => normalize(join('dist', dirname(file), url)))
      .filter((path) => !['./', 'dist/'].includes(path))
      .map((path) => (path.endsWith('.js') ? path.replace(/^dist\//, 'dist/bundles/') : path));
    expect(named).toContain('dist/bundles/apps/engine/src/main.js');
    expect(named).toContain('loaders/');
    expect(named.filter((path) => !has(path))).toEqual([]);
  });

  it('has what its command and the bundles load', () => {
    expect(packed).toContain(manifest.bin.espalier);
    const loaded = packed
      .filter((file) => file.startsWith('dist/libs/') || file === manifest.bin.espalier)
      .flatMap((file) => [...text(file).matchAll(/from '([^']+)'/g)].map(([, name]) => [file, name!] as const));
    expect(loaded.length).toBeGreaterThan(10);
    const missing = loaded.filter(([file, name]) =>
      name.startsWith('.') ? !has(normalize(join(dirname(file), name))) : !name.startsWith('node:') && name !== '#files',
    );
    expect(missing).toEqual([]);
    const bundles = readdirSync(join(ROOT, 'dist/bundles'), { recursive: true, encoding: 'utf8' });
    const code = bundles.filter((file) => /\.(js|json)$/.test(file) && !file.startsWith('code/')).map((file) => `dist/bundles/${file}`);
    expect(code.filter((file) => !packed.includes(file))).toEqual([]);
    const external = /const external = \[(.*?)\];/s.exec(text('scripts/bundle.mjs'))![1]!;
    for (const [, name] of external.matchAll(/^ {2}'([^']+)',$/gm)) expect(manifest.dependencies).toHaveProperty([name!]);
  });

  it('has the whole source of the native engine', () => {
    const engine = sources.filter((file) => /^native-engine\/(core|backends|addon|third_party)\//.test(file));
    expect(engine.length).toBeGreaterThan(200);
    expect([...engine, 'native-engine/CMakeLists.txt'].filter((file) => !packed.includes(file))).toEqual([]);
    const added = [...text('native-engine/CMakeLists.txt').matchAll(/add_executable\(\w+ (tools\/\S+\.cpp)\)/g)];
    expect(added.map(([, file]) => `native-engine/${file}`).filter((file) => !packed.includes(file))).toEqual([]);
  });

  it('has the scripts that its pages let a user run, or the page says that they are in the repository', () => {
    const named = packed
      .filter((file) => file.startsWith('docs/') && file.endsWith('.md'))
      .flatMap((page) => [...text(page).matchAll(/native-engine\/tools\/\w+\.sh/g)].map(([script]) => ({ page, script })));
    expect(named.length).toBeGreaterThan(0);
    const lacking = named.filter(({ page, script }) => !has(script) && !text(page).includes('repository'));
    expect(lacking).toEqual([]);
  });

  it('has all tasks, examples and loaders', () => {
    const wanted = sources.filter((file) => /^(tasks|examples|loaders)\//.test(file) && !file.endsWith('/.npmrc') && !file.endsWith('.md'));
    expect(wanted.filter((file) => !packed.includes(file))).toEqual([]);
  });

  it('has what its README, its documents and its examples of operation link to', () => {
    const pages = packed.filter((file) => file === 'README.md' || /^(docs|deploy)\/.*\.md$/.test(file));
    expect(pages.length).toBeGreaterThan(30);
    const linked = pages.flatMap((page) =>
      [...text(page).matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)].map(
        ([, target]) => [page, normalize(join(dirname(page), target!))] as const,
      ),
    );
    // Pages about building from the sources, and about measuring, go with the sources.
    const ofSources = /^(HACKING\.md|benchmarks\/|apps\/|libs\/|native-engine\/|testdata\/|proto\/|examples\/README\.md)/;
    expect(linked.filter(([, target]) => !has(target) && !ofSources.test(target))).toEqual([]);
  });

  it('has nothing besides: no tests, no sources of programs, no maps, nothing that was built here', () => {
    expect(
      packed.filter((file) => /\.test\.|\.map$|\.ts$|\/(tests?|testing|bench|build[^/]*|node_modules)\/|testdata|bundles\/code/.test(file)),
    ).toEqual([]);
    expect(new Set(packed.map((file) => file.split('/')[0]))).toEqual(
      new Set([
        ...['ARCHITECTURE.md', 'CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'],
        ...['deploy', 'dist', 'docs', 'examples', 'loaders', 'native-engine', 'scripts', 'tasks'],
      ]),
    );
  });

  it('hands on the licence of each package that the dashboard is made with', () => {
    const licences = text('dist/bundles/LICENSES.txt');
    const used = product
      .filter((file) => file.startsWith('apps/dashboard/'))
      .flatMap((file) => [...text(file).matchAll(/from '((?:@[\w-]+\/)?[a-z][\w-]*)/g)].map(([, name]) => name!));
    expect(used).toContain('preact');
    for (const name of new Set(used)) expect(licences).toMatch(new RegExp(`^${name} \\d`, 'm'));
  });
});

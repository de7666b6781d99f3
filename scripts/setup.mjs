#!/usr/bin/env node
// Prepares a fresh clone to run: system packages, npm packages, generated protocol code, the native engine, the compiled TypeScript. A step
// is skipped if its inputs are those of the last successful run. Steps that don't depend on each other run side by side. It uses only
// Node's own modules, since it runs before `npm ci`.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cudaChoice, ended, ENGINE_PACKAGES, failureInWords, hasApt, missingInWords, missingPackages } from './native-build.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const underWay = new Set();
const underWayProcesses = new Set();
process.on('exit', () => underWayProcesses.forEach((child) => child.kill())); // if another step has failed
const stampFolder = join(root, 'node_modules', '.espalier');
const given = process.argv.slice(2);
const withTests = given.includes('--tests');
const forPackage = given.includes('--package');
const USAGE = `node scripts/setup.mjs [--tests|--package]   builds all that has changed; with --tests also what tests need, with --package
                                             only what the npm package has: it brings the engine's sources
ESPALIER_CUDA=ON|OFF builds the CUDA backend, or not, whatever is found here
ESPALIER_FILES_TOGETHER=ON compiles several native files at a time: quicker for all of them, slower for one that has changed`;

const BUILD = join(root, 'native-engine/build');
// TypeScript 7 is native code and takes a quarter of the time of TypeScript 6, which the check of imports needs.
const TSC = 'node_modules/typescript-7/bin/tsc';
const GENERATED = ['libs/protocol', 'apps/dashboard'].map((part) => join(root, part, 'src/generated'));

const debianPackages = [...ENGINE_PACKAGES, 'python3', 'pkg-config', ...(withTests ? ['libgtest-dev', 'python3-grpcio', 'zstd'] : [])];

await main();

async function main() {
  if (given.includes('--help')) return console.log(USAGE);
  const unknown = given.find((argument, place) => place > 0 || !['--tests', '--package'].includes(argument));
  if (unknown !== undefined) fail(`${unknown} is not an option here.\n${USAGE}`);
  requireNode();
  if (forPackage) return installPackages().then(compileTypeScript);
  const system = step('system packages', installSystemPackages);
  const packages = installPackages();
  await Promise.all([
    Promise.all([system, packages]).then(compilePackages),
    system.then(() => buildNative(packages)),
    packages.then(compileTypeScript),
    withTests && packages.then(installLlamaCpp),
  ]);
}

/** Installs the npm packages, and generates the code of the protocol. Both need no compiler, which system packages may still bring. */
async function installPackages() {
  await stamped('npm packages', 'npm', digestOf(['package-lock.json']), () =>
    run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund']),
  );
  await stamped(
    'protocol code',
    'protocol',
    digestOf(['proto', 'buf.gen.yaml', 'scripts/protoc-gen-descriptor-set.mjs', 'package-lock.json']),
    generateProtocol,
    GENERATED,
  );
}

/** Runs the scripts of the npm packages. One of them compiles the event store's SQLite where it can't download its binary. */
function compilePackages() {
  return stamped('SQLite', 'npm-scripts', digestOf(['package-lock.json']), () => run('npm', ['rebuild']));
}

// Installs llama.cpp for tests. Without it, the tests that need it report that they are skipped.
function installLlamaCpp() {
  return stamped(
    'llama.cpp, to check exports with',
    'llama-cpp',
    digestOf(['loaders/llama-cpp/package-lock.json']),
    async () => {
      const done = await inRoot('npm', ['run', '--silent', 'loader:llama-cpp']);
      return done.status === 0 ? 'installed' : 'not installed: tests with it are skipped';
    },
    [join(root, 'loaders/llama-cpp/node_modules')],
  );
}

function requireNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) fail(`Node ${process.versions.node} is too old: Espalier needs 20.19 or newer.`);
}

async function installSystemPackages() {
  const missing = missingPackages(debianPackages);
  if (missing.length === 0) return 'present';
  if (!hasApt() || process.getuid?.() !== 0) fail(missingInWords(missing));
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', ['update', '-qq'], { env });
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { env });
  return `installed ${missing.join(' ')}`;
}

async function generateProtocol() {
  for (const folder of GENERATED) rmSync(folder, { recursive: true, force: true });
  await run('node_modules/.bin/buf', ['generate']);
}

/** Builds the engine. The core needs no npm packages; the addon takes the headers of Node-API from them. */
function buildNative(packages) {
  const cuda = orFail(() => cudaChoice());
  return stamped(
    'native engine',
    withTests ? 'native-tests' : 'native',
    `${digestOf(['native-engine', 'package-lock.json'])} ${cuda.id}`,
    async () => {
      // A folder that has the tests keeps building them. Otherwise they would become outdated unnoticed.
      const cache = join(BUILD, 'CMakeCache.txt');
      const tests = withTests || (existsSync(cache) && /^ESPALIER_TESTS:[A-Z]+=ON$/m.test(readFileSync(cache, 'utf8')));
      const choices = [
        '-DESPALIER_NODE_ADDON=ON',
        `-DESPALIER_TESTS=${tests ? 'ON' : 'OFF'}`,
        `-DESPALIER_FILES_TOGETHER=${process.env.ESPALIER_FILES_TOGETHER ?? 'OFF'}`,
        `-DESPALIER_CUDA=${cuda.build ? 'ON' : 'OFF'}`,
      ];
      await run('cmake', ['-S', 'native-engine', '-B', BUILD, ...choices]);
      const build = ['--build', BUILD, '--parallel', String(availableParallelism())];
      await run('cmake', [...build, '--target', 'espalier_core', ...(tests ? ['espalier_tests'] : [])]);
      await packages;
      await run('cmake', build);
      return `done, ${cuda.said}`;
    },
    [join(BUILD, 'espalier_native.node')],
  );
}

async function compileTypeScript() {
  await stamped(
    'TypeScript',
    'typescript',
    digestOf(['apps', 'libs', 'native-engine', 'tsconfig.json', 'scripts/bundle.mjs', 'package-lock.json'], /\.ts$|\.mjs$|\.json$/),
    async () => {
      await run(process.execPath, [TSC, '-p', 'tsconfig.json']);
      removeWithoutSource();
      await run(process.execPath, ['scripts/bundle.mjs']);
    },
    [join(root, 'dist/bundles')],
  );
  await stamped(
    'dashboard',
    'dashboard',
    digestOf(['apps/dashboard', 'libs/comparison', 'proto', 'buf.gen.yaml', 'package-lock.json']),
    () => run(process.execPath, ['node_modules/vite/bin/vite.js', 'build', 'apps/dashboard']),
    [join(root, 'dist/dashboard/index.html')],
  );
}

/** Removes compiled files whose sources are gone: a compiled test would still be run, and would fail. */
function removeWithoutSource() {
  for (const part of ['apps', 'libs', 'native-engine']) {
    for (const file of readdirSync(join(root, 'dist', part), { recursive: true })) {
      const [, name] = /^(.*)\.js(?:\.map)?$/.exec(file) ?? [];
      if (name !== undefined && !existsSync(join(root, part, `${name}.ts`))) rmSync(join(root, 'dist', part, file));
    }
  }
}

async function stamped(title, name, digest, work, outputs = []) {
  const file = join(stampFolder, `${name}.stamp`);
  const fresh = existsSync(file) && readFileSync(file, 'utf8') === digest && outputs.every((path) => existsSync(path));
  if (fresh) return;
  await step(title, work);
  mkdirSync(stampFolder, { recursive: true });
  writeFileSync(file, digest);
}

async function step(title, work) {
  const started = Date.now();
  underWay.add(title);
  showWork();
  const said = (await work()) ?? 'done';
  underWay.delete(title);
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  // A terminal shows no line for a step that had nothing to do. Other readers get the line, since a script may wait for it.
  if (said !== 'present' || !process.stdout.isTTY)
    console.log(`${process.stdout.isTTY ? '\r\x1b[K' : ''}  ${title}: ${said} (${seconds} s)`);
  showWork();
}

/** Shows the running steps on a terminal, on a line that the next one overwrites. */
function showWork() {
  if (process.stdout.isTTY && underWay.size > 0) process.stdout.write(`\r\x1b[K  ${[...underWay].join(', ')} ...`);
}

async function run(command, args, options) {
  const result = await inRoot(command, args, options);
  if (result.status !== 0) fail(failureInWords(command, args, result));
}

/** Runs a command in the root of the clone. The command is ended when this process ends. */
function inRoot(command, args, options = {}) {
  const onChild = (child) => {
    underWayProcesses.add(child);
    child.on('close', () => underWayProcesses.delete(child));
  };
  return ended(command, args, { cwd: root, onChild, ...options });
}

function orFail(work) {
  try {
    return work();
  } catch (error) {
    return fail(error.message);
  }
}

function fail(message) {
  console.error(`\nsetup: ${message}`);
  process.exit(1);
}

function digestOf(paths, pattern = /./) {
  const hash = createHash('sha256');
  for (const path of paths) addToDigest(hash, path, pattern);
  hash.update(process.versions.modules);
  return hash.digest('hex');
}

function addToDigest(hash, path, pattern) {
  const absolute = join(root, path);
  if (!existsSync(absolute)) return;
  if (statSync(absolute).isDirectory()) {
    for (const name of readdirSync(absolute).sort()) {
      if (!name.startsWith('build') && name !== 'node_modules') addToDigest(hash, join(path, name), pattern);
    }
  } else if (pattern.test(path)) {
    hash.update(`${path}\0`).update(readFileSync(absolute));
  }
}

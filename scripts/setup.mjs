#!/usr/bin/env node
// Everything a fresh clone needs before it runs: system packages, npm packages, generated protocol code, the native
// engine, the compiled TypeScript. Each step is skipped when its inputs are those of the last successful run.
// Uses only Node's own modules, since it runs before `npm ci`.
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stampFolder = join(root, 'node_modules', '.espalier');
const withTests = process.argv.includes('--tests');

const GENERATED = ['libs/protocol', 'apps/dashboard'].map((part) => join(root, part, 'src/generated'));

const debianPackages = {
  cmake: 'cmake',
  'g++': 'g++',
  make: 'make',
  python3: 'python3',
  'pkg-config': 'pkg-config',
  'libdnnl-dev': 'libdnnl-dev',
  'nlohmann-json3-dev': 'nlohmann-json3-dev',
  ...(withTests ? { 'libgtest-dev': 'libgtest-dev', 'python3-grpcio': 'python3-grpcio' } : {}),
};

main();

function main() {
  requireNode();
  step('system packages', installSystemPackages);
  const lock = digestOf(['package-lock.json']);
  stamped('npm packages', 'npm', lock, () => run('npm', ['ci', '--no-audit', '--no-fund']));
  stamped(
    'protocol code',
    'protocol',
    digestOf(['proto', 'buf.gen.yaml', 'scripts/protoc-gen-descriptor-set.mjs', 'package-lock.json']),
    generateProtocol,
    GENERATED,
  );
  stamped('native engine', withTests ? 'native-tests' : 'native', digestOf(['native-engine', 'package-lock.json']), buildNative, [
    join(root, 'native-engine/build/espalier_native.node'),
  ]);
  stamped(
    'TypeScript',
    'typescript',
    digestOf(['apps', 'libs', 'native-engine', 'tsconfig.json', 'package-lock.json'], /\.ts$|\.json$/),
    compileTypeScript,
    [join(root, 'dist')],
  );
  stamped('dashboard', 'dashboard', digestOf(['apps/dashboard', 'proto', 'buf.gen.yaml', 'package-lock.json']), buildDashboard, [
    join(root, 'dist/dashboard/index.html'),
  ]);
  if (withTests) {
    stamped('llama.cpp, to check exports with', 'llama-cpp', digestOf(['loaders/llama-cpp/package-lock.json']), installLlamaCpp, [
      join(root, 'loaders/llama-cpp/node_modules'),
    ]);
  }
}

// Only tests ask for it, and those that need it say that they are skipped without it.
function installLlamaCpp() {
  const done = spawnSync('npm', ['run', '--silent', 'loader:llama-cpp'], { cwd: root, encoding: 'utf8' });
  return done.status === 0 ? 'installed' : 'not installed: tests with it are skipped';
}

function requireNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) fail(`Node ${process.versions.node} is too old: Espalier needs 20.19 or newer.`);
}

function installSystemPackages() {
  const missing = Object.keys(debianPackages).filter((name) => !isInstalled(name));
  if (missing.length === 0) return 'present';
  const hasApt = spawnSync('apt-get', ['--version'], { stdio: 'ignore' }).status === 0;
  if (!hasApt || process.getuid?.() !== 0) {
    fail(
      `These system packages are missing: ${missing.join(' ')}\n` +
        (hasApt
          ? `Install them with:  sudo apt-get update && sudo apt-get install -y ${missing.join(' ')}`
          : "Install your distribution's packages of the same tools and libraries (oneDNN 3, nlohmann-json 3" +
            (withTests ? ', GoogleTest' : '') +
            ').'),
    );
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-qq'], { env });
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { env });
  return `installed ${missing.join(' ')}`;
}

function isInstalled(name) {
  const asked = spawnSync('dpkg-query', ['-W', '-f', '${Status}', name], { encoding: 'utf8' });
  if (asked.status === 0) return asked.stdout.includes('ok installed');
  // Not Debian, or installed by hand: look for what the package brings.
  const tools = { cmake: 'cmake', 'g++': 'g++', make: 'make', python3: 'python3', 'pkg-config': 'pkg-config' };
  if (tools[name]) return spawnSync('sh', ['-c', `command -v ${tools[name]}`], { stdio: 'ignore' }).status === 0;
  if (name === 'python3-grpcio')
    return spawnSync('/usr/bin/python3', ['-c', 'import grpc, google.protobuf'], { stdio: 'ignore' }).status === 0;
  const headers = { 'libdnnl-dev': 'dnnl.hpp', 'nlohmann-json3-dev': 'nlohmann/json.hpp', 'libgtest-dev': 'gtest/gtest.h' };
  return ['/usr/include', '/usr/local/include'].some((folder) => existsSync(join(folder, headers[name])));
}

function generateProtocol() {
  for (const folder of GENERATED) rmSync(folder, { recursive: true, force: true });
  run('node_modules/.bin/buf', ['generate']);
}

function buildNative() {
  // `compile` would keep the options of an earlier build, and start all over on any error of the compiler.
  const options = [
    '-d',
    'native-engine',
    '-G',
    'Unix Makefiles',
    '--CDESPALIER_NODE_ADDON=ON',
    `--CDESPALIER_TESTS=${withTests ? 'ON' : 'OFF'}`,
  ];
  run('node_modules/.bin/cmake-js', ['configure', ...options]);
  run('node_modules/.bin/cmake-js', ['build', ...options, '--parallel', String(availableParallelism())]);
  if (withTests && !hasNvcc()) return 'done; nvcc is not here, so the CUDA backend is tested over its emulator only';
}

function hasNvcc() {
  return ['nvcc', '/usr/local/cuda/bin/nvcc', '/opt/cuda/bin/nvcc'].some(
    (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0,
  );
}

function compileTypeScript() {
  run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
}

function buildDashboard() {
  run(process.execPath, ['node_modules/vite/bin/vite.js', 'build', 'apps/dashboard']);
}

function stamped(title, name, digest, work, outputs = []) {
  const file = join(stampFolder, `${name}.stamp`);
  const fresh = existsSync(file) && readFileSync(file, 'utf8') === digest && outputs.every((path) => existsSync(path));
  if (fresh) return;
  step(title, work);
  mkdirSync(stampFolder, { recursive: true });
  writeFileSync(file, digest);
}

function step(title, work) {
  const started = Date.now();
  if (process.stdout.isTTY) process.stdout.write(`  ${title} ...`);
  const said = work();
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (process.stdout.isTTY) process.stdout.write(`\r  ${title}: ${said ?? 'done'} (${seconds} s)\n`);
  else if (said !== 'present') console.log(`  ${title}: ${said ?? 'done'} (${seconds} s)`);
}

function run(command, args, options = {}) {
  const done = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'pipe'], ...options });
  if (done.status === 0) return;
  const said = `${done.stdout ?? ''}${done.stderr ?? ''}`.trimEnd().split('\n').slice(-60).join('\n');
  fail(`${command} ${args.join(' ')} failed${done.error ? `: ${done.error.message}` : ` (exit ${done.status ?? done.signal})`}\n${said}`);
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

#!/usr/bin/env node
// Packs the npm package, installs it into an empty folder and runs a short quickstart there: the engine is compiled from the sources in the
// package, and the server prunes, evaluates and exports the bundled model. It takes minutes, so no test does it.
//   node scripts/try-package.mjs [TARBALL] [--keep]     tries that package instead of a new one; --keep keeps the folder and prints its
// name
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = mkdtempSync(join(tmpdir(), 'espalier-package-'));
const STEPS = 40;
const given = process.argv.slice(2).find((argument) => argument !== '--keep');

try {
  const tarball = given === undefined ? pack() : resolve(given);
  console.log(`${tarball}: ${megabytes(tarball)} MB`);
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  run(folder, 'npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', tarball]);
  console.log(`installed with its packages: ${spawnSync('du', ['-sh', 'node_modules'], { cwd: folder, encoding: 'utf8' }).stdout.trim()}`);
  const quickstart = [
    '--steps',
    String(STEPS),
    '--recover-steps',
    '0',
    '--data-folder',
    join(folder, 'data'),
    '--json',
    'result.json',
    '--stop',
  ];
  run(folder, 'npx', ['espalier', 'quickstart', ...quickstart]);
  const result = JSON.parse(readFileSync(join(folder, 'result.json'), 'utf8'));
  if (result.steps !== STEPS || !(result.perplexity_exported > 1)) throw new Error(`the result is not that of ${STEPS} steps`);
  console.log('the package works by itself');
} finally {
  if (process.argv.includes('--keep')) console.log(`left: ${folder}`);
  else rmSync(folder, { recursive: true, force: true });
}

function pack() {
  run(root, 'npm', ['pack', '--silent', '--pack-destination', folder]);
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return join(folder, `espalier-${version}.tgz`);
}

function run(cwd, command, args) {
  console.log(`$ ${command} ${args.join(' ')}`);
  // The environment without npm's own variables for scripts, so that the second npm finds its own folder.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_')));
  const { status } = spawnSync(command, args, { cwd, env, stdio: 'inherit' });
  if (status !== 0) throw new Error(`${command} ended with ${status}`);
}

function megabytes(file) {
  return (statSync(file).size / 1e6).toFixed(1);
}

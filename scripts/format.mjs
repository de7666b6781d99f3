#!/usr/bin/env node
// Applies the layout of all sources: oxfmt (TypeScript, JavaScript, JSON), clang-format 19 (C++) and buf (protocol files).
//   node scripts/format.mjs [--write]      without --write it only checks, and exits with 1 if the layout of a file is wrong
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const write = process.argv.includes('--write');
const tracked = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { encoding: 'utf8' })
  .trim()
  .split('\n')
  .filter((file) => existsSync(file));
const scripts = tracked.filter((file) => /\.(ts|tsx|mjs|cjs|js|json|yaml|yml|css|html)$/.test(file));
const cpp = tracked.filter((file) => /^native-engine\/.*\.(cpp|h|cu|cuh)$/.test(file));
// Another major version gives some code another layout.
const clangFormat = ['clang-format-19', 'clang-format'].find((name) =>
  (spawnSync(name, ['--version'], { encoding: 'utf8' }).stdout ?? '').includes('version 19.'),
);

const results = [
  run('node_modules/.bin/oxfmt', [write ? '--write' : '--check', ...scripts]),
  run('node_modules/.bin/buf', write ? ['format', '-w'] : ['format', '-d', '--exit-code']),
  clangFormat
    ? run(clangFormat, [...(write ? ['-i'] : ['--dry-run', '-Werror']), ...cpp])
    : fail('clang-format 19 is missing (Debian: apt-get install clang-format-19)'),
];
process.exit(results.every(Boolean) ? 0 : 1);

function run(command, args) {
  return spawnSync(command, args, { stdio: 'inherit' }).status === 0;
}

function fail(message) {
  console.error(message);
  return false;
}

#!/usr/bin/env node
// Makes the package espalier and its binary packages, as a release has them: espalier names the others as optional, and all of them have
// the digest of the engine's sources.
//   node scripts/engine-packages/pack.mjs FOLDER [x64|arm64 ...]     see main.mjs
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { engineSourcesDigest } from './engine-sources.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(here));
const [given, ...machines] = process.argv.slice(2);
if (given === undefined) {
  console.error('usage: pack.mjs FOLDER [x64|arm64 ...]');
  process.exit(1);
}
const folder = resolve(given);
const unpacked = mkdtempSync(join(tmpdir(), 'espalier-pack-'));
mkdirSync(folder, { recursive: true });
try {
  run('npm', 'pack', '--silent', '--pack-destination', unpacked);
  const file = join(unpacked, 'package/package.json');
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  run('tar', '-xzf', join(unpacked, `espalier-${version}.tgz`), '-C', unpacked);
  // A clone can't name the binary packages, since npm would look for them before they are released.
  const { private: _, ...manifest } = JSON.parse(readFileSync(file, 'utf8'));
  manifest.optionalDependencies = { 'espalier-linux-x64': version, 'espalier-linux-arm64': version };
  manifest.engineSources = engineSourcesDigest(join(unpacked, 'package'));
  writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
  run('npm', 'pack', '--silent', '--ignore-scripts', '--pack-destination', folder, join(unpacked, 'package'));
} finally {
  rmSync(unpacked, { recursive: true, force: true });
}
run(process.execPath, join(here, 'main.mjs'), folder, ...machines);

function run(command, ...args) {
  execFileSync(command, args, { cwd: root, stdio: 'inherit' });
}

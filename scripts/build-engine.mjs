#!/usr/bin/env node
// Builds the native engine of an installed package, once, from the sources in the package. The command line starts this script before the
// first command that needs an engine, and the build of an image may run it too. If it is interrupted, there is still a whole engine or
// none: it builds in a folder of its own, which gets its final name at the end. setup.mjs builds a clone.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cudaChoice, ended, ENGINE_PACKAGES, failureInWords, missingInWords, missingPackages } from './native-build.mjs';

const engine = join(dirname(dirname(fileURLToPath(import.meta.url))), 'native-engine');
const BUILD = join(engine, 'build');
const KEPT = ['espalier_native.node', 'llama_quantize'];
const IN_PARTS = /^build-(\d+)$/;

try {
  if (!existsSync(join(BUILD, KEPT[0]))) await build();
} catch (error) {
  console.error(`espalier: the native engine can't be built. ${error.message}`);
  process.exitCode = 1;
}

async function build() {
  const missing = missingPackages(ENGINE_PACKAGES);
  if (missing.length > 0) throw new Error(missingInWords(missing));
  const cuda = cudaChoice();
  const folder = ownFolder();
  const started = Date.now();
  try {
    say(`building the native engine, once, ${cuda.said} ...`);
    await run('cmake', ['-S', engine, '-B', folder, ...options(cuda)]);
    await run('cmake', ['--build', folder, '--parallel', String(availableParallelism()), '--target', 'espalier_native']);
    const whole = join(folder, 'whole');
    mkdirSync(whole);
    for (const file of KEPT) renameSync(join(folder, file), join(whole, file));
    putInPlace(whole);
  } finally {
    clearLine();
    rmSync(folder, { recursive: true, force: true });
  }
  console.error(`the native engine is built (${Math.round((Date.now() - started) / 1000)} s)`);
}

function options(cuda) {
  return [
    '-DESPALIER_NODE_ADDON=ON',
    '-DESPALIER_TESTS=OFF',
    `-DESPALIER_CUDA=${cuda.build ? 'ON' : 'OFF'}`,
    `-DESPALIER_NODE_API=${packageFolder('node-api-headers')}/include;${packageFolder('node-addon-api')}`,
  ];
}

/** Returns the folder of a package. npm puts it beside this package, or inside it. */
function packageFolder(name) {
  return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
}

function ownFolder() {
  const folder = join(engine, `build-${process.pid}`);
  try {
    for (const name of readdirSync(engine)) {
      const [, pid] = IN_PARTS.exec(name) ?? [];
      if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(join(engine, name), { recursive: true, force: true });
    }
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
  } catch (error) {
    if (!['EACCES', 'EROFS', 'EPERM'].includes(error.code)) throw error;
    throw new Error(`This user may not write to ${engine}. Let the user who installed the package run once: espalier devices`);
  }
  return folder;
}

/** Gives the build its final name. Another command may have built the same engine meanwhile. */
function putInPlace(whole) {
  try {
    renameSync(whole, BUILD);
  } catch (error) {
    if (!existsSync(join(BUILD, KEPT[0]))) throw error;
  }
}

async function run(command, args) {
  const result = await ended(command, args, { onChild: endWithUs, show: showShare });
  if (result.status !== 0) throw new Error(failureInWords(command, args, result));
}

function endWithUs(child) {
  process.once('exit', () => child.kill());
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => child.kill(signal));
}

/** Shows the progress of make on a terminal, on a line that the next one overwrites. */
function showShare(text) {
  const share = /\[ *(\d+)%\](?!.*\[ *\d+%\])/s.exec(text)?.[1];
  if (share !== undefined && process.stderr.isTTY) process.stderr.write(`\r\x1b[Kbuilding the native engine: ${share}%`);
}

function say(text) {
  process.stderr.write(process.stderr.isTTY ? text : `${text}\n`);
}

function clearLine() {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
}

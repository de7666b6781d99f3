#!/usr/bin/env node
// Builds what an installed package lacks where no binary package fits the machine, once: the native engine from the sources in the package,
// and SQLite, whose package npm fetches or compiles. With ESPALIER_CUDA=ON it builds an engine even so. The command line starts this script
// before the first command that needs an engine, and the build of an image may run it too. If it is interrupted, there is still a whole
// part or none: it builds in a folder of its own, from which finished files move to their place. setup.mjs builds a clone.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { unbuiltParts } from '../dist/libs/files/src/installation.js';
import { cudaChoice, ended, ENGINE_PACKAGES, failureInWords, missingInWords, missingPackages } from './native-build.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const engine = join(root, 'native-engine');
const BUILD = join(engine, 'build');
const KEPT = ['llama_quantize', 'espalier_native.node']; // the addon comes last, since an engine is taken for built when it is there
const SQLITE_TOOLS = ['python3', 'g++', 'make'];
const IN_PARTS = /^build-(\d+)$/;

const unbuilt = unbuiltParts();
await attempt('sqlite', 'SQLite', buildSqlite);
await attempt('engine', 'the native engine', buildEngine);

async function attempt(part, title, build) {
  if (!unbuilt.includes(part) || process.exitCode === 1) return;
  const started = Date.now();
  try {
    await build();
    console.error(`${title} is built (${Math.round((Date.now() - started) / 1000)} s)`);
  } catch (error) {
    console.error(`espalier: ${title} can't be built. ${error.message}`);
    process.exitCode = 1;
  }
}

/** Lets npm fetch or compile the release of better-sqlite3 whose other half is in the bundles. */
async function buildSqlite() {
  const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const folder = ownFolder();
  try {
    say('building SQLite, once ...');
    const wanted = `better-sqlite3@${devDependencies['better-sqlite3']}`;
    const missing = missingPackages(SQLITE_TOOLS);
    // Newer releases of npm run only those scripts of packages that are allowed by name.
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, allowScripts: { 'better-sqlite3': true } }));
    try {
      await run('npm', [
        'install',
        '--global=false',
        '--prefix',
        folder,
        '--no-audit',
        '--no-fund',
        '--loglevel=error',

        wanted,
      ]);
    } catch (error) {
      throw missing.length > 0 ? new Error(missingInWords(missing)) : error;
    }
    const built = join(folder, 'node_modules/better-sqlite3/build/Release/better_sqlite3.node');
    putInPlace(built, `sqlite-${process.versions.modules}.node`);
  } finally {
    clearLine();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function buildEngine() {
  const missing = missingPackages(ENGINE_PACKAGES);
  if (missing.length > 0) throw new Error(missingInWords(missing));
  const cuda = cudaChoice();
  const folder = ownFolder();
  try {
    say(`building the native engine, once, ${cuda.said} ...`);
    await run('cmake', ['-S', engine, '-B', folder, ...options(cuda)]);
    await run('cmake', ['--build', folder, '--parallel', String(availableParallelism()), '--target', 'espalier_native']);
    for (const file of KEPT) putInPlace(join(folder, file), file);
  } finally {
    clearLine();
    rmSync(folder, { recursive: true, force: true });
  }
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

/** Gives a finished file its final name. Where another command has built the same meanwhile, this one replaces it. */
function putInPlace(file, name) {
  mkdirSync(BUILD, { recursive: true });
  renameSync(file, join(BUILD, name));
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

#!/usr/bin/env node
// Makes the binary packages espalier-linux-x64 and espalier-linux-arm64: the engine and SQLite, compiled for glibc 2.28 and later. npm
// installs the one that fits a machine beside the package espalier (optionalDependencies). `npm run release` calls this script.
//   node scripts/engine-packages/main.mjs FOLDER [x64|arm64 ...]     as root, with debootstrap, on any machine of x86-64
// Debian 12's compiler works in a folder of its own (chroot), which later releases use again, with its cache of compiled files:
// ESPALIER_BUILDER, or /var/cache/espalier-builder. The C library of Debian 11 gives the symbols; no older Debian has a mirror.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { engineSourcesDigest } from './engine-sources.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(here));
const builder = resolve(process.env.ESPALIER_BUILDER || '/var/cache/espalier-builder');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

const MACHINES = {
  x64: { triple: 'x86_64-linux-gnu', debian: 'amd64' },
  arm64: { triple: 'aarch64-linux-gnu', debian: 'arm64' },
};
const COMPILER = 'debian-archive-keyring,g++,g++-aarch64-linux-gnu,cmake,make,ccache';
const OLD_DEBIAN = 'bullseye';
const OLD_PACKAGES = ['libc6', 'libc6-dev', 'libcrypt1', 'libcrypt-dev', 'linux-libc-dev', 'libgomp1', 'gcc-10-base'];
const NEWEST_GLIBC = [2, 28];

const [folder, ...asked] = process.argv.slice(2);
const unknown = asked.find((one) => !Object.hasOwn(MACHINES, one));
if (folder === undefined || unknown !== undefined) fail(`usage: main.mjs FOLDER [${Object.keys(MACHINES).join('|')} ...]`);
if (process.getuid() !== 0) fail('the binary packages are built in a chroot, so this must run as root');
if (spawnSync('debootstrap', ['--version'], { stdio: 'ignore' }).status !== 0) fail('debootstrap is missing: apt-get install debootstrap');

makeBuilder();
putSources();
for (const name of asked.length > 0 ? asked : Object.keys(MACHINES)) {
  compile(name, MACHINES[name]);
  pack(name, MACHINES[name]);
}

/** Makes the folder of Debian 12 with its compilers, and those of the older C library, unless an earlier call has made them. */
function makeBuilder() {
  const ready = join(builder, 'ready');
  if (existsSync(ready)) return;
  rmSync(builder, { recursive: true, force: true });
  mkdirSync(dirname(builder), { recursive: true });
  run('debootstrap', ['--variant=minbase', `--include=${COMPILER}`, 'bookworm', builder]);
  const list = readFileSync(join(builder, 'etc/apt/sources.list'), 'utf8');
  writeFileSync(join(builder, 'etc/apt/sources.list.d/old.list'), list.replaceAll('bookworm', OLD_DEBIAN));
  const architectures = Object.values(MACHINES).map(({ debian }) => debian);
  for (const one of architectures) inBuilder('dpkg', ['--add-architecture', one]);
  inBuilder('apt-get', ['update']);
  for (const { debian, triple } of Object.values(MACHINES)) {
    const fetched = `/fetched/${debian}`;
    for (const made of [fetched, '/sysroot']) mkdirSync(join(builder, made), { recursive: true });
    inBuilder('sh', ['-c', `cd ${fetched} && apt-get download ${OLD_PACKAGES.map((name) => `${name}:${debian}/${OLD_DEBIAN}`).join(' ')}`]);
    inBuilder('sh', ['-c', `for deb in ${fetched}/*.deb; do dpkg-deb -x $deb /sysroot/${debian} || exit 1; done`]);
    symlinkSync('libgomp.so.1', join(builder, `sysroot/${debian}/usr/lib/${triple}/libgomp.so`));
    // Absolute links would lead to the C library of the builder itself.
    const system = `/sysroot/${debian}`;
    const made = `for link in $(find . -type l -lname '/*'); do ln -srf ${system}$(readlink $link) $link || exit 1; done`;
    inBuilder('sh', ['-c', `cd ${system} && ${made}`]);
  }
  writeFileSync(ready, '');
}

/** Copies what is compiled into the builder: the sources of the engine and of SQLite, and the headers of Node. */
function putSources() {
  const packages = ['node-api-headers', 'node-addon-api', 'better-sqlite3'];
  rmSync(join(builder, 'copied'), { recursive: true, force: true });
  mkdirSync(join(builder, 'copied/headers'), { recursive: true });
  cpSync(join(root, 'native-engine'), join(builder, 'copied/native-engine'), {
    recursive: true,
    preserveTimestamps: true,
    filter: (file) => !/\/native-engine\/build(-\d+)?$/.test(file),
  });
  cpSync(here, join(builder, 'copied/packages'), { recursive: true, filter: (file) => !file.endsWith('node_modules') });
  for (const name of packages) cpSync(join(root, 'node_modules', name), join(builder, 'copied/node_modules', name), { recursive: true });
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', join(here, 'node-headers')]);
  const nodes = join(here, 'node-headers/node_modules');
  for (const name of readdirSync(nodes).filter((one) => one.startsWith('node-')))
    cpSync(join(nodes, name, 'include/node'), join(builder, 'copied/headers', name), { recursive: true });
}

function compile(name, { triple, debian }) {
  const out = `/out/${name}`;
  const sysroot = `/sysroot/${debian}`;
  const old = `${out}/old_glibc.o`;
  mkdirSync(join(builder, out), { recursive: true });
  inBuilder(`${triple}-g++-12`, [`--sysroot=${sysroot}`, '-O2', '-fPIC', '-c', '/copied/packages/old_glibc.cpp', '-o', old]);
  const common = [
    '-DCMAKE_TOOLCHAIN_FILE=/copied/packages/toolchain.cmake',
    ...[`-DTRIPLE=${triple}`, `-DSYSROOT=${sysroot}`, `-DOLD_GLIBC=${old}`],
    ...['-DCMAKE_C_COMPILER_LAUNCHER=ccache', '-DCMAKE_CXX_COMPILER_LAUNCHER=ccache'],
  ];
  const headers = readdirSync(join(builder, 'copied/headers')).map((one) => `/copied/headers/${one}`);
  inBuilder('cmake', [
    ...['-S', '/copied/packages/sqlite', '-B', `${out}/sqlite`, ...common],
    ...['-DSQLITE=/copied/node_modules/better-sqlite3', `-DHEADERS=${headers.join(';')}`],
  ]);
  inBuilder('cmake', [
    ...['-S', '/copied/native-engine', '-B', `${out}/engine`, ...common, '-DESPALIER_NODE_ADDON=ON', '-DESPALIER_TESTS=OFF'],
    ...['-DESPALIER_CUDA=OFF', '-DESPALIER_FILES_TOGETHER=ON', `-DOpenMP_gomp_LIBRARY=${sysroot}/usr/lib/${triple}/libgomp.so`],
  ]);
  inBuilder('cmake', ['--build', `${out}/engine`, '--parallel', '2', '--target', 'espalier_native']);
  inBuilder('cmake', ['--build', `${out}/sqlite`, '--parallel', '2']);
}

function pack(name, { triple, debian }) {
  const out = join(builder, 'out', name);
  const made = join(out, 'package');
  rmSync(made, { recursive: true, force: true });
  mkdirSync(made, { recursive: true });
  const sqlite = readdirSync(join(out, 'sqlite')).filter((file) => file.endsWith('.node'));
  const programs = [
    ...['espalier_native.node', 'llama_quantize'].map((file) => join(out, 'engine', file)),
    ...sqlite.map((file) => join(out, 'sqlite', file)),
  ];
  const openmp = join(builder, 'sysroot', debian, 'usr/lib', triple, 'libgomp.so.1');
  for (const file of [...programs, openmp]) {
    requireOldSymbols(file);
    cpSync(file, join(made, file.split('/').at(-1)), { dereference: true });
  }
  cpSync(join(root, 'LICENSE'), join(made, 'LICENSE'));
  writeFileSync(join(made, 'LICENSES.txt'), licences(debian));
  writeFileSync(
    join(made, 'README.md'),
    `The compiled engine and SQLite of the package espalier ${manifest.version}, which installs this one.\n`,
  );
  const about = {
    name: `espalier-linux-${name}`,
    version: manifest.version,
    description: `The compiled engine of espalier for Linux on ${name}`,
    license: manifest.license,
    ...{ os: ['linux'], cpu: [name], libc: ['glibc'] },
    engineSources: engineSourcesDigest(join(builder, 'copied')),
  };
  writeFileSync(join(made, 'package.json'), `${JSON.stringify(about, null, 2)}\n`);
  run('npm', ['pack', '--silent', '--pack-destination', resolve(folder), made]);
  console.log(
    `${join(folder, `${about.name}-${about.version}.tgz`)} has the engine, SQLite for ${sqlite.length} releases of Node, and OpenMP`,
  );
}

/** Refuses a program that needs a newer C library, or a C++ library. */
function requireOldSymbols(file) {
  const needed = execFileSync('readelf', ['--version-info', '--dynamic', '--wide', file], { encoding: 'utf8' });
  const newest = [...needed.matchAll(/GLIBC_(\d+)\.(\d+)/g)].find(
    ([, major, minor]) => Number(major) > NEWEST_GLIBC[0] || Number(minor) > NEWEST_GLIBC[1],
  );
  if (newest !== undefined) fail(`${file} needs ${newest[0]}: glibc ${NEWEST_GLIBC.join('.')} is the newest allowed`);
  if (needed.includes('libstdc++')) fail(`${file} needs the C++ library of another machine`);
}

/** Returns the licences of what is compiled in, or lies beside it. */
function licences(debian) {
  const text = (title, ...files) => `${title}\n\n${files.map((file) => readFileSync(file, 'utf8').trim()).join('\n\n')}\n`;
  const third = join(root, 'native-engine/third_party');
  const documents = join(builder, 'sysroot', debian, 'usr/share/doc');
  return [
    text('The engine: nlohmann/json', join(third, 'LICENSE.nlohmann')),
    text('SQLite for Node: better-sqlite3. SQLite itself is in the public domain.', join(root, 'node_modules/better-sqlite3/LICENSE')),
    text('Headers of Node-API: node-addon-api', join(root, 'node_modules/node-addon-api/LICENSE.md')),
    text(
      "libgomp.so.1, and the C++ library and parts of GCC's own library that are linked in. The exception allows this for any program.",
      join(documents, 'gcc-10-base/copyright'),
      join(builder, 'usr/share/common-licenses/GPL-3'),
    ),
  ].join(`\n${'-'.repeat(80)}\n\n`);
}

function inBuilder(command, args) {
  const environment = ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'CCACHE_DIR=/ccache', 'DEBIAN_FRONTEND=noninteractive', 'LC_ALL=C'];
  run('chroot', [builder, 'env', '-i', ...environment, command, ...args]);
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) fail(`${command} ${args.join(' ')} ended with ${error?.message ?? status}`);
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

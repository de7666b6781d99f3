#!/usr/bin/env node
// Reads each native source by itself, without making code of it. A build with ESPALIER_FILES_TOGETHER joins neighbouring files, so it does
// not see that one of them lacks a header or a function that only its neighbour has. The builds of contributors compile each file alone.
// The flags and the precompiled headers are those of native-engine/build, which must be built.
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const engine = join(root, 'native-engine');
/** The targets whose files are joined, and the files of each. */
const TARGETS = [
  { folder: 'CMakeFiles/espalier_objects.dir', files: ['core/*.cpp', 'backends/cpu/*.cpp'], but: /kernels\// },
  {
    folder: 'CMakeFiles/espalier_tests.dir',
    files: ['tests/*.cpp'],
    but: /cuda_emulator\/|stand_ins\/|tests\/minimal\/|device_test|probes_test/,
  },
  { folder: 'addon/CMakeFiles/espalier_addon.dir', files: ['addon/*.cpp'], but: /^$/ },
];

function flagsOf(folder) {
  const text = readFileSync(join(engine, 'build', folder, 'flags.make'), 'utf8');
  const words = ['DEFINES', 'INCLUDES', 'FLAGS'].map((name) => new RegExp(`^CXX_${name} = ?(.*)$`, 'm').exec(text)?.[1] ?? '');
  return words.join(' ');
}

/** Only files whose path has this text; none: all. */
const [wanted = ''] = process.argv.slice(2);
const waiting = TARGETS.flatMap(({ folder, files, but }) => {
  const flags = flagsOf(folder);
  const pch = join(engine, 'build', folder, 'cmake_pch.hxx');
  const sources = execFileSync('git', ['ls-files', '--', ...files], { cwd: engine, encoding: 'utf8' })
    .trim()
    .split('\n');
  return sources.filter((name) => !but.test(name) && name.includes(wanted)).map((name) => ({ name, flags, pch }));
});
let failed = 0;
const total = waiting.length;
async function readOn() {
  for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) {
    const include = /addon/.test(one.pch) ? '' : `-Winvalid-pch -include ${one.pch}`;
    const command = `${process.env.CXX ?? 'c++'} ${one.flags} ${include} -fsyntax-only ${one.name}`;
    const status = await new Promise((resolve) => {
      spawn('/bin/sh', ['-c', command], { cwd: engine, stdio: 'inherit' }).on('close', resolve);
    });
    if (status !== 0) {
      failed += 1;
      console.log(`${one.name} does not compile alone`);
    }
  }
}
await Promise.all(Array.from({ length: availableParallelism() }, readOn));
console.log(`${total - failed} of ${total} native sources compile alone`);
process.exit(failed === 0 ? 0 : 1);

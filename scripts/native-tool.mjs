#!/usr/bin/env node
// Runs a native command-line tool (step_dump, step_bench, decode_bench), and builds it first if needed. Messages of the build go to stderr,
// so that the tool's output can be piped.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [name, ...args] = process.argv.slice(2);
const setup = spawnSync(process.execPath, [join(root, 'scripts/setup.mjs')], { stdio: ['ignore', 2, 'inherit'] });
if (setup.status !== 0) process.exit(setup.status ?? 1);
const tool = spawnSync(join(root, 'native-engine/build', name), args, {
  stdio: 'inherit',
  cwd: process.env.INIT_CWD ?? process.cwd(),
  env: { GOMP_SPINCOUNT: '2000', ...process.env }, // as in the engine's process (native-engine/index.ts)
});
process.exit(tool.status ?? 1);

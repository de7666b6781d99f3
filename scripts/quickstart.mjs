#!/usr/bin/env node
// `npm run quickstart`: builds what has changed, and then starts the command `espalier quickstart`. Its help needs no engine, so it is
// printed at once: by the command where that is compiled, and else here.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';

const COMMAND = fileURLToPath(new URL('../dist/apps/cli/src/espalier.js', import.meta.url));
const SETUP = fileURLToPath(new URL('setup.mjs', import.meta.url));
const given = process.argv.slice(2);
const asksForHelp = given.some((one) => one === '--help' || one === '-h');

if (asksForHelp && !existsSync(COMMAND)) {
  console.log(`npm run quickstart builds Espalier, which takes minutes at the first time, then starts a server, prunes the bundled model,
evaluates and exports it, and prints the results. Nothing is built yet, and the options are part of the command: after
    node scripts/setup.mjs
this help shows them. Without options the quickstart prunes to 50%.`);
} else {
  const { status } = asksForHelp ? { status: 0 } : spawnSync(process.execPath, [SETUP], { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
  process.argv = [process.execPath, COMMAND, 'quickstart', ...given];
  await import(pathToFileURL(COMMAND).href);
}

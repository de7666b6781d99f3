#!/usr/bin/env node
// The `espalier` command: parses, runs one command, reports its error, ends with its exit code.
import { outcome } from './commands/command.js';
import { describeTerminal } from './output/terminal.js';
import { reportError } from './output/report-error.js';
import { buildProgram } from './program.js';

// `espalier history RUN | head` closes our output: that ends us quietly.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

const given = process.argv.slice(2);
// quickstart's --json names a file for the result, its errors are for people.
const json = given.includes('--json') && !given.includes('quickstart');

try {
  // Nothing asked for: what there is to ask for.
  const isAlone = given.every((word) => word === '--json' || word === '--no-color');
  await buildProgram(json).parseAsync(isAlone ? ['help', ...given] : given, { from: 'user' });
  process.exitCode = outcome.exitCode;
} catch (error) {
  const terminal = describeTerminal(process.stderr);
  const colour = terminal.colour && !given.includes('--no-color');
  process.exitCode = reportError(error, { json, terminal: { ...terminal, colour }, command: outcome.command });
}

// The `espalier` command: it parses the arguments, runs one command, reports its error, and ends with its exit code.
import { outcome } from './commands/command.js';
import { describeTerminal } from './output/terminal.js';
import { outputError, reportError } from './output/report-error.js';
import { buildProgram } from './program.js';

// `espalier history RUN | head` closes this process's output. The process then ends without an error. A check goes on to its verdict.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') process.exit(fail(outputError(error)));
  if (!outcome.isVerdict) process.exit(0);
});
// The reader of the errors is gone, or there is no room for them. The exit code still reports the failure.
process.stderr.on('error', () => undefined);

const given = process.argv.slice(2);
// quickstart's --json names a file for the result, and its errors are for people.
const json = given.includes('--json') && !given.includes('quickstart');

function fail(error: unknown): number {
  const terminal = describeTerminal(process.stderr);
  const colour = terminal.colour && !given.includes('--no-color');
  return reportError(error, { json, terminal: { ...terminal, colour }, command: outcome.command });
}

async function main(): Promise<number> {
  // Without a command, help is printed.
  const isAlone = given.every((word) => word === '--json' || word === '--no-color');
  await buildProgram(json).parseAsync(isAlone ? ['help', ...given] : given, { from: 'user' });
  return outcome.exitCode;
}

void main()
  .catch(fail)
  .then((exitCode) => {
    process.exitCode = exitCode;
  });

// Runs one command line: parses its arguments, runs the command, reports its error, and returns its exit code.
import { outcome } from './commands/command.js';
import { reportError } from './output/report-error.js';
import { describeTerminal } from './output/terminal.js';
import { buildProgram } from './program.js';

/** quickstart's --json names a file for the result, and its errors are for people. */
const isForPrograms = (given: string[]): boolean => given.includes('--json') && !given.includes('quickstart');

export async function runCommand(given: string[]): Promise<number> {
  Object.assign(outcome, { exitCode: 0, command: undefined, isVerdict: false }); // tests run many commands in one process
  // Without a command, help is printed.
  const isAlone = given.every((word) => word === '--json' || word === '--no-color');
  try {
    await buildProgram(isForPrograms(given)).parseAsync(isAlone ? ['help', ...given] : given, { from: 'user' });
    return outcome.exitCode;
  } catch (error) {
    return fail(given, error);
  }
}

/** Reports the error of a command line, and returns the exit code. */
export function fail(given: string[], error: unknown): number {
  const terminal = describeTerminal(process.stderr);
  const colour = terminal.colour && !given.includes('--no-color');
  return reportError(error, { json: isForPrograms(given), terminal: { ...terminal, colour }, command: outcome.command });
}

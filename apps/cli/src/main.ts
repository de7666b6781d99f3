// The `espalier` command: it runs the command line that it is given, and ends with its exit code.
import { outcome } from './commands/command.js';
import { outputError } from './output/report-error.js';
import { fail, runCommand } from './run-command.js';

/** A connection that a command has left open is closed after this time. */
const LEFT_OPEN_MS = 1_000;
const given = process.argv.slice(2);

// `espalier history RUN | head` closes this process's output. The process then ends without an error. A check goes on to its verdict.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') process.exit(fail(given, outputError(error)));
  if (!outcome.isVerdict) process.exit(0);
});
// The reader of the errors is gone, or there is no room for them. The exit code still reports the failure.
process.stderr.on('error', () => undefined);

void runCommand(given).then((exitCode) => {
  process.exitCode = exitCode;
  // A server that takes connections and never answers leaves a TLS handshake open, which closing the client does not end.
  setTimeout(() => process.exit(), LEFT_OPEN_MS).unref();
});

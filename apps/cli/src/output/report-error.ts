import { CommanderError } from 'commander';
import { toEspalierError } from '#protocol';
import { CliError, exitCodeOf, Interrupted } from '../cli-error.js';
import { styled, type Terminal } from './terminal.js';

/** Writes the error to standard error (one JSON object with --json) and gives the exit code. */
export function reportError(error: unknown, json: boolean, terminal: Terminal, stderr: NodeJS.WritableStream = process.stderr): number {
  const exitCode = exitCodeOf(error);
  if (error instanceof Interrupted || (error instanceof CommanderError && !json)) return exitCode; // commander has printed its own
  if (error instanceof CommanderError && exitCode === 0) return exitCode;
  const known = error instanceof CommanderError ? new CliError('USAGE', error.message.replace(/^error: /, '')) : toEspalierError(error);
  const hint = known instanceof CliError ? known.hint : undefined;
  if (json) {
    const fields = known.violations.map(({ field, description, code }) => ({ field, description, code }));
    stderr.write(
      `${JSON.stringify({ error: { code: known.code, message: known.message, fields, metadata: known.metadata, hint: hint ?? null }, exit_code: exitCode })}\n`,
    );
    return exitCode;
  }
  const heading = styled(terminal, 'red', 'error');
  if (known.violations.length > 1) {
    stderr.write(`${heading} ${known.code}: ${known.violations.length} fields are not valid\n`);
    for (const { field, description } of known.violations) stderr.write(`  ${field}: ${description}\n`);
  } else {
    stderr.write(`${heading} ${known.code}: ${known.message}\n`);
    const field = known.violations[0]?.field ?? '';
    if (!known.message.includes(field)) stderr.write(`  field: ${field}\n`);
  }
  if (hint !== undefined) stderr.write(`  ${hint}\n`);
  if (known.code === 'INTERNAL' && process.env['ESPALIER_DEBUG'] && error instanceof Error) stderr.write(`${error.stack ?? ''}\n`);
  return exitCode;
}

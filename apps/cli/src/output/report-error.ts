import { CommanderError, type Command } from 'commander';
import { toEspalierError, visibleJson, visibleLines, type EspalierError } from '#protocol';
import { CliError, ExitCode, exitCodeOf, Interrupted } from '../cli-error.js';
import { flagOf, inFlags } from '../options/flag-names.js';
import { asTyped } from '../options/typed-values.js';
import { systemWords } from './result-files.js';
import { printable, styled, type Terminal } from './terminal.js';
import { wrapLines } from './text-width.js';

export interface ErrorReport {
  json: boolean;
  terminal: Terminal;
  /** The command whose options replace the names of a request's fields. */
  command: Command | undefined;
  stderr?: NodeJS.WritableStream;
}

/** Writes the error to standard error (one JSON object with --json) and returns the exit code. */
export function reportError(error: unknown, { json, terminal, command, stderr = process.stderr }: ErrorReport): number {
  const exitCode = exitCodeOf(error);
  if (error instanceof Interrupted || (error instanceof CommanderError && !json)) return exitCode; // commander has printed its own error
  if (error instanceof CommanderError && exitCode === 0) return exitCode;
  const known = error instanceof CommanderError ? new CliError('USAGE', error.message.replace(/^error: /, '')) : toEspalierError(error);
  const hint = known instanceof CliError ? known.hint : undefined;
  if (json) {
    const option = (field: string) => (field.startsWith('-') ? field : command === undefined ? undefined : flagOf(field, command)) ?? null;
    const fields = known.violations.map(({ field, description, code }) => ({ field, option: option(field), description, code }));
    const shown = { code: known.code, message: known.message, fields, metadata: known.metadata, hint: hint ?? null };
    stderr.write(`${visibleJson(JSON.stringify({ error: shown, exit_code: exitCode }))}\n`);
    return exitCode;
  }
  const heading = styled(terminal, 'red', 'error');
  const lines = [`${known.code}: ${linesOf(known, command).join('\n')}`, ...(hint === undefined ? [] : [`  ${hint}`])];
  stderr.write(`${wrapLines(printable(`${heading} ${lines.join('\n')}`), terminal.columns)}\n`);
  if (known.code === 'INTERNAL' && process.env['ESPALIER_DEBUG'] && error instanceof Error)
    stderr.write(`${visibleLines(error.stack ?? '')}\n`);
  return exitCode;
}

/** Makes the error for standard output that can't be written. */
export function outputError(cause: NodeJS.ErrnoException): CliError {
  const why = cause.code === 'ENOSPC' || cause.code === 'EDQUOT' ? 'no space is left' : systemWords(cause);
  return new CliError('OUTPUT_FAILED', `standard output can't be written: ${why}`, { exitCode: ExitCode.failed, cause });
}

const RUN_NAMES = ['RUN', 'LEFT', 'RIGHT'];

function linesOf({ code, message, violations }: EspalierError, command: Command | undefined): string[] {
  const fields = violations.map(({ field }) => field);
  const flag = (field: string) => (command === undefined ? undefined : flagOf(field, command)) ?? field;
  // A file of settings uses the protocol's names, so they stay.
  const withFlags = (text: string, field = '') =>
    command === undefined || code === 'CONFIG_INVALID' ? text : asTyped(inFlags(text, fields, command), command, flag(field));
  if (violations.length > 1) {
    return [
      code === 'CONFIG_INVALID' ? `the file has ${violations.length} mistakes` : `${violations.length} values are not valid`,
      // A problem of a file's line names the file.
      ...violations.map(({ field, description }) => `  ${field.startsWith('<') ? '' : `${flag(field)}: `}${withFlags(description, field)}`),
    ];
  }
  const [field] = fields;
  const words = withFlags(message, field);
  const name = field === undefined ? '' : flag(field);
  // An error gets the name of its option in front, unless it names the option already, or is about the run, which is clear without.
  const isSaid = words.includes(name) || !/^(--|[A-Z]+$)/.test(name) || RUN_NAMES.includes(name);
  return [isSaid ? words : `${name}: ${words}`];
}

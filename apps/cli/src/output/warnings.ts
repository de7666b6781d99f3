import type { Command } from 'commander';
import { requestedValues, settingsTable, visibleJson, type v1 } from '#protocol';
import { ExitCode } from '../cli-error.js';
import { flagOf, inFlags } from '../options/flag-names.js';
import type { Output } from './output.js';
import { toStandardError } from './terminal.js';

const LEAD = 'warning:';

/** Prints warnings with the names of the command's options. */
export function printWarnings(output: Output, warnings: readonly v1.PlanWarning[], command: Command): void {
  for (const { code, message, field } of warnings)
    warn(output, { code, message: inFlags(message, [field], command), field, option: flagOf(field, command) ?? null });
}

/**
 * Warns of settings that were asked for and that the answer lacks: a server of an earlier release drops settings that it does not know.
 * @param runId the run that was launched without them; '' where no run was launched
 * @returns the exit code: a program that asked for these settings must not go on as if it had them
 */
export function warnOfLostSettings(output: Output, asked: v1.RunSettings, answered: v1.RunSettings | undefined, runId = ''): number {
  if (answered === undefined) return ExitCode.ok;
  const [wanted, taken] = [requestedValues(asked), requestedValues(answered)];
  const lost = settingsTable().filter(({ name }) => wanted[name] !== undefined && taken[name] === undefined);
  if (lost.length === 0) return ExitCode.ok;
  const flags = lost.map(({ flag }) => flag).join(', ');
  const instead = runId === '' ? '' : `, and cancel the run: espalier cancel ${runId}`;
  const message = `the server is older than this command and ignores ${flags}: update the server${instead}`;
  warnOf(output, 'SETTINGS_LOST', message);
  return ExitCode.failed;
}

/** Prints warnings that the command itself has found, in words that need no option's name. */
export function warnOf(output: Output, code: string, message: string): void {
  warn(output, { code, message, field: '', option: null });
}

/**
 * Warnings go to standard error, so that standard output holds only the result: for people wrapped to the terminal's width, with --json as
 * an object on a line of its own, as errors are.
 */
function warn(output: Output, warning: { code: string; message: string; field: string; option: string | null }): void {
  if (output.json) {
    process.stderr.write(`${visibleJson(JSON.stringify({ warning }))}\n`);
    return;
  }
  toStandardError(`${output.style('yellow', LEAD)} ${warning.message}`, LEAD.length + 1);
}

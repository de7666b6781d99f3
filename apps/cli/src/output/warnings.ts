import type { Command } from 'commander';
import { visibleJson, type v1 } from '#protocol';
import { flagOf, inFlags } from '../options/flag-names.js';
import type { Output } from './output.js';
import { toStandardError } from './terminal.js';

const LEAD = 'warning:';

/** Prints warnings with the names of the command's options. */
export function printWarnings(output: Output, warnings: readonly v1.PlanWarning[], command: Command): void {
  for (const { code, message, field } of warnings)
    warn(output, { code, message: inFlags(message, [field], command), field, option: flagOf(field, command) ?? null });
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

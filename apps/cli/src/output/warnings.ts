import type { Command } from 'commander';
import type { v1 } from '#protocol';
import { inFlags } from '../options/flag-names.js';
import { printable } from './terminal.js';
import type { Output } from './output.js';

/** Prints warnings with the names of the command's options. They go to standard error, so that standard output holds only the result. */
export function printWarnings(output: Output, warnings: readonly v1.PlanWarning[], command: Command): void {
  for (const { message, field } of warnings)
    process.stderr.write(`${output.style('yellow', 'warning:')} ${printable(inFlags(message, [field], command))}\n`);
}

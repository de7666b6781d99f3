import type { v1 } from '#protocol';
import { printable } from './terminal.js';
import type { Output } from './output.js';

/** On standard error, so that a program that reads the result is not disturbed. */
export function printWarnings(output: Output, warnings: readonly v1.PlanWarning[]): void {
  for (const { message } of warnings) process.stderr.write(`${output.style('yellow', 'warning:')} ${printable(message)}\n`);
}

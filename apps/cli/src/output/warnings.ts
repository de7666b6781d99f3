import type { Command } from 'commander';
import { requestedValues, settingsTable, type v1 } from '#protocol';
import { inFlags } from '../options/flag-names.js';
import { printable } from './terminal.js';
import type { Output } from './output.js';

/** Prints warnings with the names of the command's options. They go to standard error, so that standard output holds only the result. */
export function printWarnings(output: Output, warnings: readonly v1.PlanWarning[], command: Command): void {
  for (const { message, field } of warnings)
    process.stderr.write(`${output.style('yellow', 'warning:')} ${printable(inFlags(message, [field], command))}\n`);
}

/**
 * Warns of settings that were asked for and that the answer lacks: a server of an earlier release drops settings that it does not know.
 * @param runId the run that was launched without them; '' where no run was launched
 */
export function warnOfLostSettings(output: Output, asked: v1.RunSettings, answered: v1.RunSettings | undefined, runId = ''): void {
  if (answered === undefined) return;
  const [wanted, taken] = [requestedValues(asked), requestedValues(answered)];
  const lost = settingsTable().filter(({ name }) => wanted[name] !== undefined && taken[name] === undefined);
  if (lost.length === 0) return;
  const flags = lost.map(({ flag }) => flag).join(', ');
  const instead = runId === '' ? '' : `, and cancel the run: espalier cancel ${runId}`;
  const words = `the server does without ${flags}, since it is of an earlier release: update it${instead}`;
  process.stderr.write(`${output.style('yellow', 'warning:')} ${words}\n`);
}

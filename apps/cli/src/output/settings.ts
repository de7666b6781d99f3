// All settings of a run, by their names in the protocol. The list is the message itself, so that a new setting shows itself.
import type { v1 } from '#protocol';
import type { Context } from '../context.js';
import { toPlain } from './plain.js';

export function printSettings({ output }: Context, settings: v1.RunSettings | undefined): void {
  if (settings === undefined) return;
  output.line();
  output.line(output.style('bold', 'Settings'));
  output.pairs(Object.entries(toPlain(settings) as Record<string, unknown>).map(([name, value]) => [name, valueText(value)]));
}

/** As `launch` takes it. A setting that the server does not know has no value. */
function valueText(value: unknown): string {
  if (value === null || value === undefined) return '-';
  return Array.isArray(value) ? value.join(',') : `${value as string | number | boolean}`;
}

// A run's recorded error names fields of its launch. This file replaces them by options of "espalier launch".
import { inFlags } from '../../options/flag-names.js';
import { outcome } from '../command.js';

export function inLaunchWords(text: string, field: string): string {
  const launch = outcome.command?.parent?.commands.find((one) => one.name() === 'launch');
  return launch === undefined ? text : inFlags(text, [field], launch);
}

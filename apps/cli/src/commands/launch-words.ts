// Why a run failed or waits is recorded in the fields of its launch: here it is said in the options of "espalier launch".
import { inFlags } from '../options/flag-names.js';
import { outcome } from './command.js';

export function inLaunchWords(text: string, field: string): string {
  const launch = outcome.command?.parent?.commands.find((one) => one.name() === 'launch');
  return launch === undefined ? text : inFlags(text, [field], launch);
}

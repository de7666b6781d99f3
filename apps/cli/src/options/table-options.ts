// The speed table that a launch or a plan measures first for its target_speedup: --on, and the options that belong to it.
import type { Command } from 'commander';
import { TARGET_NAMES } from '#comparison';
import type { v1 } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import type { Context } from '../command-context.js';
import { measureTable, tableWords } from './measured-table.js';
import { positiveNumber, sequencesTogether } from './parse.js';
import type { MeasuredOn, RunFile } from './run-file.js';
import { settingsOf } from './settings-options.js';
import { toStandardError } from '../output/terminal.js';

const NAMES = ['on', 'phase', 'context', 'batch'] as const;

export function addTableOptions(command: Command): Command {
  return command
    .option('--on <device>', 'measure the table of --target-speedup first, on an engine with this device, e.g. cpu or cuda:0')
    .option('--phase <phase>', 'with --on: the pass that should be faster, decode or prefill (default: decode)')
    .option('--context <tokens>', 'with --on: tokens before the new one, or of the prompt (default: 2048)', positiveNumber)
    .option('--batch <n>', 'with --on: sequences decoded together, 1 to 16 (default: 1)', sequencesTogether);
}

/** @throws CliError OPTIONS_CONFLICT if an option asks for a table, which a fork has from its parent */
export function requireNoTable(options: MeasuredOn): void {
  const named = NAMES.find((name) => options[name] !== undefined);
  if (named !== undefined) throw conflict(named, 'is for a launch: a fork uses the table of its parent');
}

/**
 * Returns the settings of the options and the file. If they ask for a table, it is measured first.
 * @param data of a launch, whose mistakes show before the device measures
 */
export async function settingsWithTable(
  context: Context,
  options: MeasuredOn,
  file: RunFile,
  modelPath: string,
  data?: v1.DataSource,
  note: (text: string) => void = toStandardError,
): Promise<v1.RunSettings> {
  const asked = measurementAsked(options, file);
  if (asked === null) return settingsOf(options, file.settings);
  const { speedTable: _, ...ofFile } = file.settings;
  const settings = settingsOf(options, ofFile);
  if ((settings.targetSpeedup ?? 0) === 0)
    throw new CliError('OPTION_REQUIRED', '--on needs --target-speedup, since it measures the table for that target', {
      field: '--target-speedup',
      exitCode: ExitCode.usage,
    });
  if ('requestId' in options)
    throw new CliError(
      'OPTIONS_CONFLICT',
      '--request-id repeats a launch as it was, but --on measures another table each time: measure one by espalier bench --table',
      { field: '--request-id', exitCode: ExitCode.usage },
    );
  const { on = '', phase = '', context: tokens = 0, batch = 0 } = asked;
  const request = { modelPath, on, phase, context: tokens, batch, rounds: 0, computeDtype: '', settings, data };
  const measured = await measureTable(context, request);
  if (measured.problem !== '')
    throw new CliError('SPEED_TABLE_INVALID', `the times measured on ${measured.device} are too uneven to go by: ${measured.problem}`, {
      field: '--on',
      exitCode: ExitCode.failed,
      hint: 'an idle machine gives steadier times; espalier bench --table measures longer with --rounds',
    });
  // About the command itself, so it is seen with --json too.
  note(`${tableWords(measured, phase)}\nto use this table again:\n--speed-table ${measured.tableDigest}`);
  return { ...settings, speedTable: measured.tableDigest };
}

/**
 * Returns the measurement that the launch asks for, or null where it needs none: it reads a table, or its target needs none. An option
 * counts before the file's value, as with settings.
 */
function measurementAsked(options: MeasuredOn, { measure }: RunFile): MeasuredOn | null {
  const settings = options as Record<string, unknown>;
  const named = NAMES.find((name) => options[name] !== undefined);
  if (settings['speedTable'] !== undefined) {
    if (named !== undefined) throw conflict(named, 'is given beside --speed-table: a table is either measured or read');
    return null;
  }
  const aimsElsewhere = TARGET_NAMES.some((name) => name !== 'targetSpeedup' && settings[name] !== undefined);
  const ofFile = aimsElsewhere ? undefined : measure;
  if (named === undefined && ofFile === undefined) return null;
  const asked: MeasuredOn = { ...ofFile };
  for (const name of NAMES) if (options[name] !== undefined) Object.assign(asked, { [name]: options[name] });
  if (asked.on === undefined) throw conflict(named!, 'is of no use without --on DEVICE, where a table is measured');
  return asked;
}

function conflict(name: string, why: string): CliError {
  return new CliError('OPTIONS_CONFLICT', `--${name} ${why}`, { field: `--${name}`, exitCode: ExitCode.usage });
}

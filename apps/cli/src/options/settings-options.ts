// The options for settings, made from the table of settings. A fork takes only those that keep its state meaningful. The others are also
// sent to the server, which refuses them with the reason.
import { InvalidArgumentError, Option, type Command } from 'commander';
import { BUDGET_NAMES, TARGET_NAMES } from '#comparison';
import {
  allowedWords,
  defaultWords,
  namesTableFile,
  settingsMessage,
  settingsTable,
  settingOfText,
  type RequestedValues,
  type Setting,
  type v1,
} from '#protocol';
import { absolutePath } from './parse.js';
import { typedOption } from './typed-values.js';

/** @param only the settings to add, by their names in the protocol; undefined: all */
export function addSettingOptions(command: Command, only?: readonly string[]): Command {
  for (const setting of settingsTable()) if (only?.includes(setting.field) ?? true) command.addOption(optionOf(setting, helpOf(setting)));
  return command;
}

export function addForkOptions(command: Command): Command {
  for (const setting of settingsTable()) {
    const option = optionOf(setting, textOf(setting, allowedWords(setting)));
    command.addOption(setting.forkMayChange ? option : option.hideHelp());
  }
  return command;
}

/** Returns the settings for a request. An option counts before the file's value. */
export function settingsOf(options: object, ofFile: RequestedValues = {}): v1.RunSettings {
  const given = options as Record<string, unknown>;
  const values = settingsTable().map((setting) => [setting.name, given[attributeOf(setting)]]);
  const said = Object.fromEntries(values.filter(([, value]) => value !== undefined)) as RequestedValues;
  // A run has one target. An option's target counts, whichever target the file has.
  const aimed = TARGET_NAMES.some((name) => said[name] !== undefined);
  const others: readonly string[] = [...TARGET_NAMES, ...(said.targetSpeedup === undefined ? ['speedTable'] : [])];
  const kept = aimed ? Object.fromEntries(Object.entries(ofFile).filter(([name]) => !others.includes(name))) : ofFile;
  return settingsMessage({ ...kept, ...said });
}

function helpOf(setting: Setting): string {
  return textOf(
    setting,
    [allowedWords(setting), setting.kind === 'flag' ? '' : `default: ${defaultWords(setting)}`].filter(Boolean).join('; '),
  );
}

function textOf({ help }: Setting, more: string): string {
  return more === '' ? help : `${help} (${more})`;
}

function optionOf(setting: Setting, help: string): Option {
  const option = new Option(flagsOf(setting), help);
  return setting.kind === 'flag' ? option : typedOption(option, (text) => parsed(setting, text));
}

function flagsOf({ flag, kind, share, unit }: Setting): string {
  const placeholder = {
    number: share ? 'share' : 'number',
    whole: unit || 'n',
    bits: 'n',
    text: 'name',
    word: 'name',
    words: 'names',
    flag: '',
  };
  return kind === 'flag' ? flag : `${flag} <${placeholder[kind]}>`;
}

const attributeOf = (setting: Setting): string => new Option(flagsOf(setting)).attributeName();

function parsed(setting: Setting, text: string): unknown {
  if (setting.name === 'speedTable' && namesTableFile(text)) return absolutePath(text);
  try {
    const value = settingOfText(setting, text);
    // A script with an empty or zero variable must not get a run with another target.
    if (value === 0 && (BUDGET_NAMES as readonly string[]).includes(setting.name))
      throw new InvalidArgumentError('0 is not a budget: a run without one leaves the option out');
    return value;
  } catch (error) {
    if (error instanceof RangeError) throw new InvalidArgumentError(error.message);
    throw error;
  }
}

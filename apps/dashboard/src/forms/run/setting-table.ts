// The settings of a run as texts. They follow the protocol's table of settings: name, range, default, unit, help.
import {
  leastAsked,
  otherTargets,
  presetDefault,
  timeWords,
  typedNumber,
  type PresetDefaults,
} from '../../../../../libs/comparison/src/index.js';
import { fromJson, getOption, hasOption, ScalarType, toJson, type DescField, type JsonObject, type JsonValue } from '@bufbuild/protobuf';
import { RunSettingsSchema, type RunSettings } from '../../generated/espalier/v1/common_pb.js';
import { setting, type Setting } from '../../generated/espalier/v1/setting_pb.js';
import { count, plainNumber } from '../../ui/format.js';
import { FieldProblem } from '../form-troubles.js';

/** The typed texts, by the names of the protocol; '' means the default. */
export type Typed = Record<string, string>;

export interface SettingField {
  name: string;
  /** The setting's option on the command line. */
  flag: string;
  help: string;
  /** The range in words, or '' for a setting without a range. */
  range: string;
  unit: string;
  /** The values that the server takes for an empty field, for each preset. */
  defaults: PresetDefaults;
  /** The form accepts this setting as a percentage, too. */
  share: boolean;
  mayFork: boolean;
  choices: [value: string, word: string][];
  kind: 'choice' | 'number' | 'flag' | 'list' | 'text';
  isWhole: boolean;
}

const WHOLE: readonly ScalarType[] = [ScalarType.UINT32, ScalarType.UINT64];

const TIME = 'time';

/** Returns "1 to 20" or "above 0, up to 1"; '' for a setting without a range. */
function rangeWords(name: string, option: Setting): string {
  const { max, withinModel } = option;
  if (max === undefined) return '';
  const limit = (value: number): string =>
    option.unit === TIME ? timeWords(value) : Number.isInteger(value) ? count(value) : String(value);
  const most = withinModel ? "the model's" : limit(max); // the unit stands after the number
  const { least, isExcluded } = leastAsked(name, option);
  return isExcluded ? `above ${limit(least)}, up to ${most}` : `${limit(least)} to ${most}`;
}

export const SETTING_FIELDS: SettingField[] = RunSettingsSchema.fields.flatMap((field) => {
  if (!hasOption(field, setting)) return [];
  const option = getOption(field, setting);
  const { help, unit, flag, share, default: usual, paper, nuteprune2, fisher, forkMayChange, allowed } = option;
  const range = rangeWords(field.name, option);
  return [
    {
      name: field.name,
      flag: flag || `--${field.name.replaceAll('_', '-')}`,
      help,
      range,
      unit,
      defaults: { default: usual, paper, nuteprune2, fisher },
      share,
      mayFork: forkMayChange,
      choices: choicesOf(field, allowed),
      kind: kindOf(field, allowed),
      isWhole: field.fieldKind === 'scalar' && WHOLE.includes(field.scalar),
    },
  ];
});

/** Returns the value for which an empty field stands, with the preset of the form. */
export function defaultOf({ name, defaults }: SettingField, typed: Typed): string {
  if (name === 'preset') return defaults.default;
  return presetDefault(defaults, typed['preset'] || SETTING_FIELDS.find((field) => field.name === 'preset')!.defaults.default);
}

/** The value that an empty field stands for, and the word for its origin. */
export interface Fallback {
  value: string;
  origin: 'default' | 'unchanged' | 'follows';
}

/**
 * Returns the value of an empty field: in a launch the default. A fork has the value of its parent, unless the plan says that another value
 * follows from what is typed.
 */
export function fallbackOf(field: SettingField, typed: Typed, fork?: ForkSettings): Fallback {
  if (fork === undefined) return { value: defaultOf(field, typed), origin: 'default' };
  const unchanged = fork.parent[field.name] ?? '';
  const planned = typed[field.name] ? unchanged : (fork.planned[field.name] ?? unchanged);
  return { value: planned, origin: planned === unchanged ? 'unchanged' : 'follows' };
}

/** The settings of a fork's parent and those of its plan, as people read them. */
export interface ForkSettings {
  parent: Record<string, string>;
  planned: Record<string, string>;
}

export const emptyWords = ({ value, origin }: Fallback): string => (value === '' ? 'default' : `${value} (${origin})`);

function choicesOf(field: DescField, allowed: string[]): [string, string][] {
  if (field.enum === undefined) return allowed.map((word) => [word, word]);
  const { values, sharedPrefix = '' } = field.enum;
  return values.filter(({ number }) => number !== 0).map(({ name }) => [name, name.toLowerCase().slice(sharedPrefix.length)]);
}

function kindOf(field: DescField, allowed: string[]): SettingField['kind'] {
  if (field.fieldKind === 'list') return 'list';
  if (field.enum !== undefined || allowed.length > 0) return 'choice';
  const scalar = field.fieldKind === 'scalar' ? field.scalar : undefined;
  return scalar === ScalarType.BOOL ? 'flag' : scalar === ScalarType.STRING ? 'text' : 'number';
}

/** Returns settings as a person would type them. */
function typedOf(settings: RunSettings | undefined): Typed {
  if (settings === undefined) return {};
  const json = toJson(RunSettingsSchema, settings, { useProtoFieldName: true }) as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(json).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(',') : name === TIME ? timeWords(Number(value)) : plainNumber(String(value)),
    ]),
  );
}

/** Returns settings as typed texts for another run. Of the targets, only the one that counts is included. */
export function retyped(settings: RunSettings | undefined): Typed {
  const others = otherTargets(settings ?? {});
  return Object.fromEntries(Object.entries(typedOf(settings)).filter(([name]) => !others.includes(name)));
}

/** Returns settings as people read them. */
export function wordsOf(settings: RunSettings | undefined): Record<string, string> {
  return wordsOfTyped(typedOf(settings));
}

/** Returns settings as people read them, for another run. Of the targets, only the one that counts is included. */
export const rewordsOf = (settings: RunSettings | undefined): Record<string, string> => wordsOfTyped(retyped(settings));

function wordsOfTyped(typed: Typed): Record<string, string> {
  return Object.fromEntries(
    SETTING_FIELDS.flatMap(({ name, choices }) => {
      const value = typed[name];
      return value === undefined ? [] : [[name, choices.find(([one]) => one === value)?.[1] ?? value]];
    }),
  );
}

/** @throws FieldProblem if a setting needs a number and has another text */
export function settingsOf(typed: Typed): RunSettings {
  const json: JsonObject = {};
  for (const field of SETTING_FIELDS) {
    const { name, kind } = field;
    const text = (typed[name] ?? '').trim();
    if (text === '') continue;
    if (kind === 'list') json[name] = text.split(/[\s,]+/);
    else if (kind === 'flag') json[name] = text === 'true';
    else if (kind === 'choice' || kind === 'text') json[name] = text;
    else json[name] = numberOf(field, text);
    requireReadable(field, json[name]);
  }
  return fromJson(RunSettingsSchema, json);
}

/** Reads a number. A whole number is kept as a text, so that it keeps all of its digits. */
function numberOf(field: SettingField, text: string): string | number {
  if (field.unit !== TIME && /^\d+$/.test(text)) return text;
  try {
    return typedNumber(field, text);
  } catch (error) {
    throw new FieldProblem(`settings.${field.name}`, field.isWhole ? wholeWords(field) : (error as Error).message);
  }
}

/** Says what a setting takes that is a whole number. A seed has no range in the table, since it is only bits. */
const wholeWords = ({ range }: SettingField): string =>
  range === '' ? 'A whole number from 0 to 2^64 - 1 is allowed.' : `A whole number is allowed: ${range}.`;

/** Checks a setting alone, so that the error can name its field. */
function requireReadable(field: SettingField, value: JsonValue): void {
  const { name, isWhole } = field;
  try {
    fromJson(RunSettingsSchema, { [name]: value });
  } catch (error) {
    const words = error instanceof Error ? error.message.replace(/^cannot decode .* from JSON: /, '') : String(error);
    throw new FieldProblem(`settings.${name}`, isWhole ? wholeWords(field) : words);
  }
}

// The settings of a run as texts, by the protocol's own table of them: name, range, default, unit, help.
import { otherTargets, presetDefault, typedNumber, type PresetDefaults } from '../../../../libs/comparison/src/index.js';
import { fromJson, getOption, hasOption, ScalarType, toJson, type DescField, type JsonObject, type JsonValue } from '@bufbuild/protobuf';
import { RunSettingsSchema, type RunSettings } from '../generated/espalier/v1/common_pb.js';
import { setting } from '../generated/espalier/v1/setting_pb.js';
import { plainNumber } from '../ui/format.js';
import { FieldProblem } from './form-troubles.js';

/** The typed texts, by the names of the protocol; '' is the default. */
export type Typed = Record<string, string>;

export interface SettingField {
  name: string;
  /** Its option on the command line. */
  flag: string;
  help: string;
  /** In words; '' where it has none. */
  range: string;
  unit: string;
  /** The server takes these for an empty field, by the preset. */
  defaults: PresetDefaults;
  /** May be typed in percent. */
  share: boolean;
  mayFork: boolean;
  choices: [value: string, word: string][];
  kind: 'choice' | 'number' | 'flag' | 'list' | 'text';
}

export const SETTING_FIELDS: SettingField[] = RunSettingsSchema.fields.flatMap((field) => {
  if (!hasOption(field, setting)) return [];
  const { help, unit, flag, share, default: usual, paper, nuteprune2, forkMayChange, allowed, min, above, max } = getOption(field, setting);
  const range = max === undefined ? '' : above === undefined ? `${min ?? 0} to ${max}` : `above ${above}, up to ${max}`;
  return [
    {
      name: field.name,
      flag: flag || `--${field.name.replaceAll('_', '-')}`,
      help,
      range,
      unit,
      defaults: { default: usual, paper, nuteprune2 },
      share,
      mayFork: forkMayChange,
      choices: choicesOf(field, allowed),
      kind: kindOf(field, allowed),
    },
  ];
});

/** An empty field of a form with these values stands for this. */
export function defaultOf({ name, defaults }: SettingField, typed: Typed): string {
  if (name === 'preset') return defaults.default;
  return presetDefault(defaults, typed['preset'] || SETTING_FIELDS.find((field) => field.name === 'preset')!.defaults.default);
}

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

/** Settings as a person would type them. */
export function typedOf(settings: RunSettings | undefined): Typed {
  if (settings === undefined) return {};
  const json = toJson(RunSettingsSchema, settings, { useProtoFieldName: true }) as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(json).map(([name, value]) => [name, Array.isArray(value) ? value.join(',') : plainNumber(String(value))]),
  );
}

/** As for another run: with the one target that counts. */
export function retyped(settings: RunSettings | undefined): Typed {
  const others = otherTargets(settings ?? {});
  return Object.fromEntries(Object.entries(typedOf(settings)).filter(([name]) => !others.includes(name)));
}

/** And as people read them. */
export function wordsOf(settings: RunSettings | undefined): Record<string, string> {
  return wordsOfTyped(typedOf(settings));
}

/** As for another run: with the one target that counts. */
export const rewordsOf = (settings: RunSettings | undefined): Record<string, string> => wordsOfTyped(retyped(settings));

function wordsOfTyped(typed: Typed): Record<string, string> {
  return Object.fromEntries(
    SETTING_FIELDS.flatMap(({ name, choices }) => {
      const value = typed[name];
      return value === undefined ? [] : [[name, choices.find(([one]) => one === value)?.[1] ?? value]];
    }),
  );
}

/** @throws FieldProblem where a setting needs a number and has another text */
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
    requireReadable(name, json[name]);
  }
  return fromJson(RunSettingsSchema, json);
}

/** A whole number keeps all of its digits. */
function numberOf({ name, share, unit }: SettingField, text: string): string | number {
  if (/^\d+$/.test(text)) return text;
  try {
    return typedNumber({ share, unit }, text);
  } catch (error) {
    throw new FieldProblem(`settings.${name}`, (error as Error).message);
  }
}

/** Each by itself, so that the field can be named. */
function requireReadable(name: string, value: JsonValue): void {
  try {
    fromJson(RunSettingsSchema, { [name]: value });
  } catch (error) {
    throw new FieldProblem(
      `settings.${name}`,
      error instanceof Error ? error.message.replace(/^cannot decode .* from JSON: /, '') : String(error),
    );
  }
}

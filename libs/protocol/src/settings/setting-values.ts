// Converts values of settings between their three forms: in a message of the protocol, in events (words and decimal strings, which JSON
// keeps exact), and as a text that a person writes.
import { BUDGET_NAMES, hasSuffixes, presetDefault, typedNumber } from '#comparison';
import type { EnumWord } from '../enum-words.js';
import * as v1 from '../v1.js';
import { settingOfName, settingsTable, type Setting, type SettingName } from './settings-table.js';

/** The enums among the settings, each by the prefix of its values. */
interface SettingEnums {
  RECIPE_: typeof v1.Recipe;
  SCHEDULE_SHAPE_: typeof v1.ScheduleShape;
  SPARSITY_CONTROL_: typeof v1.SparsityControl;
  COMPUTE_DTYPE_: typeof v1.ComputeDtype;
  RATE_SHAPE_: typeof v1.RateShape;
  SHAPE_TARGET_: typeof v1.ShapeTarget;
  MASK_ROUNDING_: typeof v1.MaskRounding;
  RECOVER_WEIGHTS_: typeof v1.RecoverWeights;
  LAYER_LOSS_SCALE_: typeof v1.LayerLossScale;
}
type WordOf<T> = {
  [P in keyof SettingEnums]: T extends SettingEnums[P][keyof SettingEnums[P]] ? EnumWord<SettingEnums[P], P> : never;
}[keyof SettingEnums];

/** The form of a message's value in an event. */
type Stored<T> = T extends string | boolean | readonly string[]
  ? T
  : T extends bigint
    ? string // numbers in JSON are exact only up to 2^53
    : `${number}` extends `${T & number}`
      ? number
      : WordOf<T>;

/** The values of all settings, as events hold them. */
export type SettingValues = { [K in SettingName]-?: Stored<NonNullable<v1.RunSettings[K]>> };
type Value = SettingValues[SettingName];
/** The values that a request asks for. A setting that is missing or undefined is not asked for. */
export type RequestedValues = { [K in SettingName]?: SettingValues[K] | undefined };

/** Returns the settings that a message asks for. Other messages with fields of the same names are accepted too. */
export function requestedValues(message: Partial<v1.RunSettings> | undefined): RequestedValues {
  const values: Record<string, Value> = {};
  for (const setting of settingsTable()) {
    const value = storedValue(setting, message?.[setting.name]);
    if (value !== undefined) values[setting.name] = value;
  }
  return values;
}

function storedValue({ kind, numbers }: Setting, value: v1.RunSettings[SettingName]): Value | undefined {
  switch (kind) {
    case 'word':
      return [...numbers].find(([, number]) => number === value)?.[0];
    case 'bits':
      return (value as bigint | undefined)?.toString();
    case 'text':
    case 'words':
      return value === undefined || (value as string | string[]).length === 0 ? undefined : (value as Value);
    case 'flag':
      return value === true ? true : undefined;
    case 'number':
    case 'whole':
      return value as number | undefined;
  }
}

export function settingsMessage(values: RequestedValues): v1.RunSettings {
  const fields = settingsTable().flatMap(({ name, kind, numbers }) => {
    const value = values[name];
    if (value === undefined) return [];
    return [[name, kind === 'word' ? numbers.get(value as string) : kind === 'bits' ? BigInt(value as string) : value]];
  });
  return v1.RunSettings.fromPartial(Object.fromEntries(fields) as Partial<v1.RunSettings>);
}

/**
 * Returns the settings of a run as a message. The budgets and the time that the run does not have are left out, since requests with a 0
 * there are refused: a client may launch another run with these settings.
 * @param toChoose the settings that are still to be chosen: they are left out too
 */
export function settingsMessageOfRun(settings: RequestedValues, toChoose: readonly SettingName[] = []): v1.RunSettings {
  const unasked = [...[...BUDGET_NAMES, 'time' as const].filter((name) => settings[name] === 0), ...toChoose];
  return settingsMessage({ ...settings, ...Object.fromEntries(unasked.map((name) => [name, undefined])) });
}

/** Returns a preset's value of a setting; undefined where the value is computed. */
export function defaultOf(setting: Setting, preset: string): Value | undefined {
  return setting.computed ? undefined : valueOfText(setting, presetDefault(setting, preset));
}

/** Returns a preset's values of all settings that are not computed. */
export function presetDefaults(preset: string): RequestedValues {
  return Object.fromEntries(settingsTable().map((setting) => [setting.name, defaultOf(setting, preset)]));
}

/** The preset of a request that names none. */
export const defaultPreset = (): string => settingOfName('preset').default;

/** Reads a value from a text. It checks the form but not the range. @throws RangeError that says what is allowed */
export function valueOfText(setting: Setting, text: string): Value {
  switch (setting.kind) {
    case 'number':
      return typedNumber(setting, text);
    case 'whole':
      return wholeNumberOf(text);
    case 'bits':
      if (!/^\d+$/.test(text) || BigInt(text) >= 1n << 64n) throw new RangeError('A whole number from 0 to 2^64 - 1 is allowed.');
      return text;
    case 'flag':
      return text === 'true';
    case 'word':
      if (!setting.allowed.includes(text)) throw new RangeError(`Allowed are ${setting.allowed.join(', ')}.`);
      return text;
    case 'text':
      return text;
    case 'words': {
      const words = text
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== '');
      // In a message an empty list is the same as no list, and would get the default.
      if (words.length === 0) throw new RangeError(`At least one is needed: ${setting.allowed.join(', ')}.`);
      return words;
    }
  }
}

/** Tells whether the setting's values are written with a suffix, as 2.1M. */
export const isAmount = ({ unit, kind }: Setting): boolean => kind === 'number' && hasSuffixes(unit);

const UINT32_MAX = 4_294_967_295;

export function wholeNumberOf(text: string): number {
  const value = Number(text.replaceAll('_', ''));
  if (!/^\d[\d_]*(\.\d+)?(e\+?\d{1,3})?$/i.test(text) || !Number.isInteger(value) || value > UINT32_MAX)
    throw new RangeError(value > UINT32_MAX ? `At most ${UINT32_MAX} is allowed.` : 'A whole number from 0 on is allowed.');
  return value;
}

// Checks the value of a setting against its entry in the table alone. The server checks rules that involve several settings.
import { leastAsked, timeWords } from '#comparison';
import type { FieldViolation } from '../espalier-error.js';
import { settingOfField, settingsTable, type Setting } from './settings-table.js';
import type { SettingValues } from './setting-values.js';

export interface ModelLimits {
  maxPositions: number;
}

/**
 * Returns every wrong value with what is allowed; an empty list if all values are right. `limits` is left out before the model is known.
 */
export function valueViolations(values: SettingValues, limits?: ModelLimits): FieldViolation[] {
  return settingsTable().flatMap((setting) => [
    ...violationsOfSetting(setting, values),
    ...(limits === undefined ? [] : positionViolations(setting, values, limits)),
  ]);
}

/** Checks one setting. If its limit is another setting, they are compared if that setting is among the values. */
export function violationsOfSetting(setting: Setting, values: SettingValues): FieldViolation[] {
  const value = values[setting.name];
  switch (setting.kind) {
    case 'number':
    case 'whole':
      return rangeViolations(setting, value as number, values);
    case 'bits':
      return /^\d+$/.test(value as string) && BigInt(value as string) < 1n << 64n
        ? []
        : [unknown(setting, `must be a whole number below 2^64, is ${String(value)}`)];
    case 'words':
      return listViolations(setting, value as readonly string[]);
    case 'word':
    case 'text':
      return setting.allowed.length === 0 || setting.allowed.includes(value as string)
        ? []
        : [unknown(setting, `must be one of ${setting.allowed.join(', ')}, is "${String(value)}"`)];
    case 'flag':
      return [];
  }
}

function rangeViolations(setting: Setting, value: number, values: SettingValues): FieldViolation[] {
  const { kind, field, min, above, atMost } = setting;
  const other = atMost === '' ? undefined : (values[settingOfField(atMost).name] as number);
  const max = other ?? setting.max;
  const whole = kind === 'whole';
  const fits =
    Number.isFinite(value) &&
    (!whole || Number.isInteger(value)) &&
    (min === undefined || value >= min) &&
    (above === undefined || value > above) &&
    (max === undefined || value <= max);
  if (fits) return divisionViolations(setting, value, values);
  const { least, isExcluded } = leastAsked(field, setting);
  if (setting.unit === 'time')
    return [outOfRange(setting, `must be from ${timeWords(least)} to ${timeWords(max!)}, is ${timeWords(value)}`)];
  const range = isExcluded ? `above ${least} and at most ${max}` : `in [${least}, ${max}]`;
  const why = other === undefined ? '' : ` (at most ${atMost})`;
  return [outOfRange(setting, `must be ${whole ? 'a whole number ' : ''}${range}${why}, is ${value}`)];
}

function divisionViolations(setting: Setting, value: number, values: SettingValues): FieldViolation[] {
  if (setting.divides === '') return [];
  const whole = values[settingOfField(setting.divides).name] as number;
  if (!Number.isInteger(whole) || whole % value === 0) return [];
  return [outOfRange(setting, `must divide ${setting.divides}, which is ${whole}, is ${value}`)];
}

function listViolations(setting: Setting, items: readonly string[]): FieldViolation[] {
  const { allowed } = setting;
  const strange = items.filter((item) => allowed.length > 0 && !allowed.includes(item));
  const doubled = [...new Set(items.filter((item, index) => items.indexOf(item) < index))];
  return [
    ...(strange.length > 0 ? [unknown(setting, `must be among ${allowed.join(', ')}; "${strange.join('", "')}" is not`)] : []),
    ...(items.length === 0 ? [unknown(setting, 'must name at least one')] : []),
    ...(doubled.length > 0 ? [unknown(setting, `must name each once; "${doubled.join('", "')}" is named again`)] : []),
  ];
}

function positionViolations(setting: Setting, values: SettingValues, { maxPositions }: ModelLimits): FieldViolation[] {
  const value = values[setting.name] as number;
  if (!setting.withinPositions || value <= maxPositions) return [];
  const description = `must be at most the model's ${maxPositions} positions, is ${value}`;
  return [{ field: `settings.${setting.field}`, description, code: 'SEQUENCE_TOO_LONG' }];
}

function unknown({ field }: Setting, description: string): FieldViolation {
  return { field: `settings.${field}`, description, code: 'FIELD_UNKNOWN_VALUE' };
}

function outOfRange({ field }: Setting, description: string): FieldViolation {
  return { field: `settings.${field}`, description, code: 'FIELD_OUT_OF_RANGE' };
}

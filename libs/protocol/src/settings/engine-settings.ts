// Makes and reads messages that hold the settings that an engine uses, and no others.
import { invalidRequest, type FieldViolation } from '../espalier-error.js';
import { EngineUse } from '../generated/espalier/v1/setting.js';
import type * as v1 from '../v1.js';
import { violationsOfSetting } from './setting-checks.js';
import { requestedValues, settingsMessage, type SettingValues } from './setting-values.js';
import { settingsTable, type Setting } from './settings-table.js';

/** session: the settings for opening a session; training: the settings of each call that trains. */
export type EngineSettingsUse = 'session' | 'training';

/** A value in the form that the native engine takes. */
export type EngineSettingValue = number | bigint | boolean | string | readonly string[];

const uses = { session: EngineUse.ENGINE_USE_SESSION, training: EngineUse.ENGINE_USE_TRAINING };

export function engineSettings(use: EngineSettingsUse): readonly Setting[] {
  return settingsTable().filter(({ engine }) => engine === uses[use]);
}

/** Makes the message of a run's settings for this use. Equal settings give equal messages, even if other settings of the runs differ. */
export function engineSettingsMessage(use: EngineSettingsUse, values: SettingValues): v1.RunSettings {
  return settingsMessage(Object.fromEntries(engineSettings(use).map(({ name }) => [name, values[name]])));
}

/**
 * Returns all settings that the engine takes for this use, by name.
 * @param field the field of the request that holds the message: "options.settings"
 * @throws EspalierError FIELD_REQUIRED for each missing setting, or another code for each value that the table does not allow
 */
export function givenEngineSettings(
  use: EngineSettingsUse,
  message: v1.RunSettings | undefined,
  field: string,
): Record<string, EngineSettingValue> {
  const given = requestedValues(message) as SettingValues;
  const violations = engineSettings(use).flatMap((setting): FieldViolation[] => {
    if (setting.kind !== 'flag' && given[setting.name] === undefined) {
      const description = 'is missing: an engine knows no default';
      return [{ field: `settings.${setting.field}`, description, code: 'FIELD_REQUIRED' }];
    }
    return violationsOfSetting(setting, given);
  });
  if (violations.length > 0) {
    const inRequest = (one: FieldViolation): FieldViolation => ({ ...one, field: one.field.replace(/^settings/, field) });
    throw invalidRequest(violations.map(inRequest));
  }
  return Object.fromEntries(engineSettings(use).map((setting) => [setting.name, engineValue(setting, given)]));
}

function engineValue({ name, kind }: Setting, given: SettingValues): EngineSettingValue {
  if (kind === 'flag') return given[name] === true; // a message does not distinguish false from a missing value
  return kind === 'bits' ? BigInt(given[name] as string) : given[name];
}

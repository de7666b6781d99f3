// The settings that an engine takes, on their way to it: a message that holds those and no others.
import { invalidRequest, type FieldViolation } from '../espalier-error.js';
import { EngineUse } from '../generated/espalier/v1/setting.js';
import type * as v1 from '../v1.js';
import { violationsOfSetting } from './setting-checks.js';
import { requestedValues, settingsMessage, type SettingValues } from './setting-values.js';
import { settingsTable, type Setting } from './settings-table.js';

/** session: a session is opened with them; training: each call that trains has them. */
export type EngineSettingsUse = 'session' | 'training';

/** A value as the native engine takes it. */
export type EngineSettingValue = number | bigint | boolean | string | readonly string[];

const uses = { session: EngineUse.ENGINE_USE_SESSION, training: EngineUse.ENGINE_USE_TRAINING };

export function engineSettings(use: EngineSettingsUse): readonly Setting[] {
  return settingsTable().filter(({ engine }) => engine === uses[use]);
}

/** The request's part of a run's settings. Equal ones make equal messages, whatever else the runs differ in. */
export function engineSettingsMessage(use: EngineSettingsUse, values: SettingValues): v1.RunSettings {
  return settingsMessage(Object.fromEntries(engineSettings(use).map(({ name }) => [name, values[name]])));
}

/**
 * All that the engine takes there, by name.
 * @param field where the message is in the request: "options.settings"
 * @throws EspalierError FIELD_REQUIRED or another for each that is missing, or that the table does not allow
 */
export function givenEngineSettings(
  use: EngineSettingsUse,
  message: v1.RunSettings | undefined,
  field: string,
): Record<string, EngineSettingValue> {
  const given = requestedValues(message) as SettingValues;
  const violations = engineSettings(use).flatMap((setting): FieldViolation[] => {
    if (setting.kind !== 'flag' && given[setting.name] === undefined) {
      const description = 'is missing: the engine knows no default';
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
  if (kind === 'flag') return given[name] === true; // a message does not tell false from nothing
  return kind === 'bits' ? BigInt(given[name] as string) : given[name];
}

// Compares the table of settings with the core's own list of the settings that it uses (core/session/settings.h).
import { defaultOf, engineSettings, settingsTable, type EngineSettingsUse, type Setting } from '#protocol';
import { settingsInEffect, type Settings } from './index.js';

const uses: EngineSettingsUse[] = ['session', 'training'];
const own = settingsInEffect();

/** A value that differs from the core's own default. */
function otherValue(setting: Setting, value: Settings[string]): Settings[string] {
  switch (setting.kind) {
    case 'flag':
      return !(value as boolean);
    case 'bits':
      return 2n ** 64n - 2n;
    case 'whole':
      return value === setting.max ? setting.max - 1 : (value as number) + 1;
    case 'number':
      return setting.max! - ((value as number) - (setting.min ?? setting.above!)) / 3;
    case 'words': {
      const given = value as string[];
      return given.length < setting.allowed.length ? [...given, setting.allowed[given.length]!] : setting.allowed.slice(1, 3);
    }
    case 'word':
    case 'text':
      return setting.allowed.find((word) => word !== value)!;
  }
}

test.each(uses)('what the table says the engine takes (%s) is what the core takes', (use) => {
  expect(Object.keys(own[use]).sort()).toEqual(
    engineSettings(use)
      .map(({ name }) => name)
      .sort(),
  );
});

test.each(uses)('each setting (%s) reaches the value that the core computes with, and no other', (use) => {
  for (const setting of engineSettings(use)) {
    const value = otherValue(setting, own[use][setting.name]!);
    expect(value).not.toEqual(own[use][setting.name]);
    expect(settingsInEffect({ [use]: { [setting.name]: value } })).toEqual({ ...own, [use]: { ...own[use], [setting.name]: value } });
  }
});

test("the core's own defaults are those of a preset: its tests and tools compute with them", () => {
  const table = uses.flatMap((use) => engineSettings(use).map((setting) => ({ setting, value: own[use][setting.name]! })));
  for (const { setting, value } of table.filter(({ setting }) => !setting.computed && setting.kind !== 'bits'))
    expect([setting.field, [defaultOf(setting, 'short'), defaultOf(setting, 'paper')]]).toEqual([
      setting.field,
      expect.arrayContaining([value]),
    ]);
});

test('a setting that the core does not take there is refused by name', () => {
  const none = settingsTable().find(({ name }) => name === 'targetSparsity')!;
  for (const use of uses)
    expect(() => settingsInEffect({ [use]: { [none.name]: 0.5 } })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field: `${use}.targetSparsity` }),
    );
  expect(() => settingsInEffect({ session: { seed: 1n } })).toThrow(expect.objectContaining({ field: 'session.seed' }));
  expect(() => settingsInEffect({ session: { computeDtype: 'f8' } })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'session.computeDtype' }),
  );
});

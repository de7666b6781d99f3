import { create } from '@bufbuild/protobuf';
import { RunSettingsSchema } from '../../generated/espalier/v1/common_pb.js';
import { defaultOf, emptyWords, fallbackOf, retyped, SETTING_FIELDS, settingsOf, type Typed } from './setting-table.js';

const fieldOf = (name: string) => SETTING_FIELDS.find((field) => field.name === name)!;
const defaults = (typed: Typed): string[] => ['preset', 'recipe', 'total_steps', 'seed'].map((name) => defaultOf(fieldOf(name), typed));

test('an empty field stands for the default of the chosen preset', () => {
  expect(defaults({})).toEqual(['nuteprune2', 'distill', '600', '42']);
  expect(defaults({ preset: 'short' })).toEqual(['nuteprune2', 'nuteprune', '1400', '42']);
  expect(defaults({ preset: 'paper' })).toEqual(['nuteprune2', 'nuteprune', '8750', '42']);
});

test('ranges say what the server takes', () => {
  const ranges = ['target_speedup', 'target_params', 'target_macs', 'target_sparsity', 'lora_alpha'].map((name) => fieldOf(name).range);
  expect(ranges).toEqual(['1 to 20', "above 0, up to the model's", 'above 0, up to 1', '0 to 0.95', 'above 0, up to 1\u202f000\u202f000']);
});

test('a number is typed as on the command line; what is not a number is refused at its field', () => {
  expect(settingsOf({ target_params: '2.1M' }).targetParams).toBe(2_100_000);
  expect(settingsOf({ target_bytes: '2.5GiB' }).targetBytes).toBe(2.5 * 1024 ** 3);
  expect(settingsOf({ target_macs: '60%', target_sparsity: '1/2' })).toMatchObject({ targetMacs: 0.6, targetSparsity: 0.5 });
  expect(settingsOf({ seed: '18446744073709551615' }).seed).toBe(18446744073709551615n);
  expect(() => settingsOf({ target_bytes: 'much' })).toThrow(/A whole number of bytes is allowed/);
  expect(settingsOf({ total_steps: '2e3' }).totalSteps).toBe(2_000);
  const refused = (typed: Typed): unknown => {
    try {
      return settingsOf(typed);
    } catch (error) {
      return error;
    }
  };
  for (const text of ['20.5', '-1', 'many', '200%', '5000000000']) {
    const message = expect.stringMatching(/^A whole number is allowed: 1 to 10.000.000\.$/);
    expect(refused({ total_steps: text })).toMatchObject({ field: 'settings.total_steps', message });
  }
  for (const text of ['20.5', '-1', 'many', '18446744073709551616']) {
    const message = 'A whole number from 0 to 2^64 - 1 is allowed.';
    expect(refused({ seed: text })).toMatchObject({ field: 'settings.seed', message });
  }
  expect(refused({ target_params: '250000.5' })).toMatchObject({ message: expect.stringMatching(/^A whole number of parameters/) });
});

test('the settings of a run can be typed again: with its one target, and with the table of a target in seconds alone', () => {
  const again = (part: object) => settingsOf(retyped(create(RunSettingsSchema, { seed: 7n, speedTable: 'none', ...part })));
  expect(again({ targetSparsity: 0.5, targetSpeedup: 0 })).toEqual(create(RunSettingsSchema, { seed: 7n, targetSparsity: 0.5 }));
  expect(again({ targetSparsity: 0.5, targetSpeedup: 1.6, speedTable: '/tables/cpu.json' })).toEqual(
    create(RunSettingsSchema, { seed: 7n, targetSpeedup: 1.6, speedTable: '/tables/cpu.json' }),
  );
});

test('a time is typed with its unit, and typed again only where no steps were chosen by it', () => {
  expect(settingsOf({ time: '30m' }).time).toBe(1800);
  expect(() => settingsOf({ time: '30' })).toThrow('A time is allowed, e.g. 90s, 10m or 2h.');
  expect(fieldOf('time').range).toBe('1s to 720h');
  const again = (part: object) => retyped(create(RunSettingsSchema, { time: 90, ...part }));
  expect([again({}), again({ totalSteps: 1 }), again({ totalSteps: 40, recoverSteps: 0 })]).toEqual([
    { time: '90s' },
    { time: '90s' }, // a recipe that prunes in one step has only its recovery to choose
    { total_steps: '40', recover_steps: '0' },
  ]);
});

test('an empty choice stands for the default in a launch, and in a fork for what its parent has or its plan says', () => {
  const parent = { recipe: 'lm', recover_weights: 'all' };
  const words = (name: string, typed: Typed, planned?: Record<string, string>): string =>
    emptyWords(fallbackOf(fieldOf(name), typed, planned && { parent, planned }));
  expect(words('recipe', {})).toBe('distill (default)');
  expect(words('recipe', {}, {})).toBe('lm (unchanged)'); // there is no plan yet
  expect(words('recipe', {}, parent)).toBe('lm (unchanged)');
  expect(words('recover_weights', {}, { recover_weights: 'lora' })).toBe('lora (follows)');
  expect(words('recover_weights', { recover_weights: 'lora' }, { recover_weights: 'lora' })).toBe('all (unchanged)');
  expect(words('schedule', {}, {})).toBe('default');
});

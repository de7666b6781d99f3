import { create } from '@bufbuild/protobuf';
import { RunSettingsSchema, SparsityControl } from '../../generated/espalier/v1/common_pb.js';
import {
  defaultOf,
  emptyWords,
  retyped,
  SETTING_FIELDS,
  settingsOf,
  settingsToFollow,
  settingsToPlan,
  type Typed,
} from './setting-table.js';

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

test('an empty choice stands for the default in a launch, and for the value of the parent in a fork', () => {
  expect([emptyWords('nuteprune2', false), emptyWords('nuteprune2', true), emptyWords('', false)]).toEqual([
    'nuteprune2 (default)',
    'nuteprune2 (unchanged)',
    'default',
  ]);
});

describe('the plan of a fork is asked for', () => {
  const rates = { recoverLearningRate: 0.0007, maskNoise: 0.3, lambdaLearningRate: 1 };
  const steps = { totalSteps: 50, warmupSteps: 15, recoverSteps: 400, recoverWarmupSteps: 20 };
  const parent = create(RunSettingsSchema, { ...steps, ...rates, targetSparsity: 0.5, sparsityControl: SparsityControl.MULTIPLIERS });
  const asked = (typed: Typed, defaults = parent) => settingsToPlan(parent, typed, defaults);

  const left = (settings: object): string[] => Object.keys({ ...steps, ...rates }).filter((name) => !Object.hasOwn(settings, name));

  test('without the settings that follow anew from the changed ones', () => {
    expect(asked({})).toMatchObject({ ...steps, targetSparsity: 0.5, lambdaLearningRate: 1 });
    const rule = ['recoverLearningRate', 'maskNoise'];
    expect(left(asked({ target_sparsity: '0.3' }))).toEqual(rule);
    expect(left(asked({ recover_steps: '10' }))).toEqual(['recoverWarmupSteps', ...rule]);
    expect(left(asked({ total_steps: '10' }))).toEqual(['warmupSteps', ...rule]);
    expect(left(asked({ sparsity_control: 'SPARSITY_CONTROL_TRACKING' }))).toEqual([...rule, 'lambdaLearningRate']);
  });

  test('with what the parent had of its own, and with what is typed', () => {
    const others = create(RunSettingsSchema, { recoverLearningRate: 0.001, maskNoise: 0.3 });
    expect(left(asked({ target_sparsity: '0.3' }, others))).toEqual(['maskNoise']);
    const typed = { recover_steps: '10', recover_warmup_steps: '5', mask_noise: '0.4' };
    expect(asked(typed)).toMatchObject({ recoverWarmupSteps: 5, maskNoise: 0.4 });
    expect(asked({ recover_steps: ' ' })).toMatchObject(steps); // a text that was deleted leaves the parent's value
    expect(left(settingsToFollow(parent))).toEqual(['recoverLearningRate', 'maskNoise']);
  });
});

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as v1 from '../v1.js';
import { valueViolations } from './setting-checks.js';
import {
  defaultOf,
  requestedValues,
  settingsMessage,
  settingsMessageOfRun,
  valueOfText,
  type RequestedValues,
  type SettingValues,
} from './setting-values.js';
import { allowedWords, defaultWords, findSetting, givenEngineSettings, settingOfField, settingsPage, settingsTable } from '../index.js';

const setting = settingOfField;
const defaults = Object.fromEntries(
  settingsTable().map((one) => [one.name, defaultOf(one, 'short') ?? (one.atMost === '' ? Math.min(2, one.max ?? 2) : 0)]),
) as unknown as SettingValues;

describe('the table of settings', () => {
  it.each(settingsTable())('says what $field is, what is allowed and what it is where a request leaves it out', (one) => {
    expect(one.help).not.toBe('');
    if (one.kind === 'number' || one.kind === 'whole')
      expect([one.min ?? one.above, one.max]).toEqual([expect.any(Number), expect.any(Number)]);
    expect(one.default).not.toBe('');
    for (const other of [one.atMost, one.divides]) if (other !== '') expect(findSetting(other)).toBeDefined();
    if (!one.computed) for (const preset of setting('preset').allowed) expect(() => defaultOf(one, preset)).not.toThrow();
  });
  it('gives no two settings one option of the command line', () => {
    const flags = settingsTable().map(({ flag }) => flag);
    expect(new Set(flags).size).toBe(flags.length);
  });
  it('says in words what each preset takes', () => {
    const words = ['total_steps', 'recover_weights', 'lora_rank', 'seed'].map((field) => defaultWords(setting(field)));
    expect(words).toEqual([
      '600; short: 1400; paper: 8750; fisher: 1',
      'all; short: lora; paper: lora; fisher: layers',
      '32; short: 64; paper: 8',
      '42',
    ]);
  });
  it('is what the page of the documentation says (npm run settings-page)', () => {
    const page = fileURLToPath(new URL('../../../../../docs/settings.md', import.meta.url));
    expect(readFileSync(page, 'utf8')).toBe(settingsPage());
  });
});

describe('values of settings', () => {
  const message = v1.RunSettings.fromPartial({
    recipe: v1.Recipe.RECIPE_DISTILL,
    seed: 2n ** 64n - 1n,
    targetSparsity: 0,
    loraTargets: ['v_proj'],
    denseSteps: true,
  });
  const values: RequestedValues = {
    recipe: 'distill',
    seed: '18446744073709551615',
    targetSparsity: 0,
    loraTargets: ['v_proj'],
    denseSteps: true,
  };

  it('go from a message to an event and back; what a message leaves out is not there', () => {
    expect(requestedValues(message)).toEqual(values);
    expect(settingsMessage(requestedValues(message))).toEqual(message);
    expect(requestedValues(undefined)).toEqual({});
  });
  it('of a run name no budget that it does not have, since a request may not ask for 0', () => {
    const none = { targetParams: 0, targetBytes: 0, targetMacs: 0, targetSpeedup: 0 };
    expect(settingsMessageOfRun({ ...values, ...none })).toEqual(message);
    expect(settingsMessageOfRun({ ...none, targetBytes: 2e6 })).toEqual(v1.RunSettings.fromPartial({ targetBytes: 2e6 }));
  });
  it('have ranges in words, which say what a request may give', () => {
    const words = ['target_speedup', 'target_params', 'target_macs', 'target_sparsity', 'lora_alpha', 'sequence_length'];
    expect(words.map((field) => allowedWords(setting(field)))).toEqual([
      '1 to 20',
      'above 0, to what the model has',
      'above 0, to 1, or in percent',
      '0 to 0.95, or in percent',
      'above 0, to 1,000,000',
      "2 to the model's positions",
    ]);
  });
  it('take percentages where they are shares, which all numbers between 0 and 1 are but the learning rates', () => {
    const small = settingsTable().filter(({ kind, max, field }) => kind === 'number' && max! <= 1 && !field.endsWith('learning_rate'));
    expect(small.map(({ field }) => field)).toContain('mask_noise');
    for (const one of small) expect([one.field, valueOfText(one, '50%')]).toEqual([one.field, 0.5]);
  });
  it('are texts for people, whose form is checked', () => {
    expect(valueOfText(setting('target_sparsity'), '50%')).toBe(0.5);
    expect(valueOfText(setting('temperature'), '2/3')).toBe(2 / 3);
    expect(valueOfText(setting('total_steps'), '1_000')).toBe(1000);
    expect(valueOfText(setting('lora_targets'), 'q_proj, v_proj')).toEqual(['q_proj', 'v_proj']);
    expect(['1.1e9', '2.1M', '3_000k', '7B'].map((text) => valueOfText(setting('target_params'), text))).toEqual([1.1e9, 2.1e6, 3e6, 7e9]);
    expect(['2.5GiB', '800MB', '12', '1 kib'].map((text) => valueOfText(setting('target_bytes'), text))).toEqual([
      2.5 * 1024 ** 3,
      8e8,
      12,
      1024,
    ]);
    for (const [field, text] of [
      ['target_params', '1.1e9x'],
      ['target_params', '-3'],
      ['target_params', '2MiB'],
      ['target_bytes', '2G'],
      ['target_sparsity', 'half'],
      ['target_sparsity', ''],
      ['temperature', '50%'],
      ['temperature', '1/0'],
      ['total_steps', '1.5'],
      ['seed', '-1'],
      ['recipe', 'unspecified'],
      ['gates', ' , '],
    ] as const)
      expect(() => valueOfText(setting(field), text)).toThrow(RangeError);
  });
  it('are refused out of their range, by the names of the protocol', () => {
    expect(valueViolations(defaults)).toEqual([]);
    const fields = (values: Partial<SettingValues>, limits?: { maxPositions: number }): string[] =>
      valueViolations({ ...defaults, ...values }, limits).map(({ field, code }) => `${field} ${code}`);
    expect(fields({ loraAlpha: 0, batchSize: 1.5, warmupSteps: 1401 })).toEqual([
      'settings.warmup_steps FIELD_OUT_OF_RANGE',
      'settings.batch_size FIELD_OUT_OF_RANGE',
      'settings.lora_alpha FIELD_OUT_OF_RANGE',
    ]);
    const words = (values: Partial<SettingValues>): string => valueViolations({ ...defaults, ...values })[0]!.description;
    expect(words({ targetMacs: 1.5 })).toBe('must be above 0 and at most 1, is 1.5');
    expect(words({ targetSparsity: 2 })).toBe('must be in [0, 0.95], is 2');
    expect(fields({ batchSize: 6, microShards: 4 })).toEqual(['settings.micro_shards FIELD_OUT_OF_RANGE']);
    expect(fields({ batchSize: 6, microShards: 3 })).toEqual([]);
    expect(fields({ loraTargets: ['q_proj', 'q_proj'] })).toEqual(['settings.lora_targets FIELD_UNKNOWN_VALUE']);
    expect(fields({ loraTargets: [] })).toEqual(['settings.lora_targets FIELD_UNKNOWN_VALUE']);
    expect(fields({ sequenceLength: 600 }, { maxPositions: 512 })).toEqual(['settings.sequence_length SEQUENCE_TOO_LONG']);
  });
});

test('an engine names each setting that it misses', () => {
  const given = () => givenEngineSettings('training', v1.RunSettings.fromPartial({}), 'settings');
  expect(given).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID', field: 'settings.seed' }));
});

import { buildProgram } from '../program.js';
import { flagOf, inFlags } from './flag-names.js';

const command = (name: string) => buildProgram().commands.find((one) => one.name() === name)!;

test.each([
  ['launch', 'settings.total_steps', '--steps'],
  ['fork', 'settings.total_steps', '--steps'],
  ['launch', 'settings.lora_targets[2]', '--lora-targets'],
  ['launch', 'settings.batch_size', '--batch-size'],
  ['launch', 'settings.lambda_learning_rate', '--lambda-lr'],
  ['launch', 'settings.9999', undefined],
  ['launch', 'data.train_path', '--data'],
  ['fork', 'data.validation_path', '--validation'],
  ['fork', 'teacher_mark', '--from-teacher'],
  ['export', 'teacher_mark', '--teacher'],
  ['fork', 'parent_run_id', 'RUN'],
  ['runs', 'parent_run_id', '--parent'],
  ['verify', 'from_step', '--replay'],
  ['metrics', 'from_step', '--from-step'],
  ['diff', 'left_run_id', 'LEFT'],
  ['show', 'run_id', 'RUN'],
  ['eval', 'window', '--window'],
  ['eval', '--task-data', '--task-data'],
  ['launch', '--task-data', undefined],
  ['fork', 'data.without_validation', '--no-validation'],
  ['runs', 'where[2]', '--where'],
  ['runs', 'by[0]', '--group'],
  ['launch', 'config.json', '--model'],
  ['plan', 'config.seed', '--model'],
  ['launch', 'model.safetensors:lm_head.weight', '--model'],
  ['launch', 'model', '--model'],
  ['runs', 'model_contains', '--model'],
  ['resume', 'config.json', undefined],
])('%s: %s is %s', (name, field, flag) => expect(flagOf(field, command(name))).toBe(flag));

test('what is wrong in a model is told by its place there', () => {
  const path = '/models/x/config.json: the file ends in the middle';
  expect(inFlags(path, ['config.json', 'json'], command('launch'))).toBe(path);
  expect(inFlags('config.seed: must be 1', ['config.seed'], command('launch'))).toBe('config.seed: must be 1');
});

test('every setting of launch has its option', async () => {
  const { v1 } = await import('#protocol');
  for (const name of Object.keys(v1.RunSettings.fromPartial({}))) {
    const field = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    expect([field, flagOf(`settings.${field}`, command('launch'))]).toEqual([field, expect.stringMatching(/^--/)]);
  }
});

test('texts speak of options; values, paths and other words stay', () => {
  const told = (text: string, ...fields: string[]) => inFlags(text, fields, command('launch'));
  expect(told('settings.warmup_steps: must be in [0, 100] (at most total_steps), is 200', 'settings.warmup_steps')).toBe(
    '--warmup-steps: must be in [0, 100] (at most --steps), is 200',
  );
  expect(told('seed: must be a whole number; see data.train_path', 'seed')).toBe('--seed: must be a whole number; see --data');
  expect(told('/home/model_path/x is not a folder, "batch_size" neither, nor q_proj')).toBe(
    '/home/model_path/x is not a folder, "batch_size" neither, nor q_proj',
  );
});

import { Command } from 'commander';
import { addSettingOptions } from './settings-options.js';

const parsed = (...words: string[]): object =>
  addSettingOptions(new Command().exitOverride().configureOutput({ writeErr: () => undefined }))
    .parse(words, { from: 'user' })
    .opts();

test.each(['--target-params', '--target-bytes', '--target-macs', '--target-speedup'])(
  '%s 0 is refused, since it asks for nothing',
  (flag) => {
    expect(() => parsed(flag, '0')).toThrow(/0 is not a budget/);
  },
);

test('an amount is read with its unit', () => {
  expect(parsed('--target-params', '2.1M')).toEqual({ targetParams: 2_100_000 });
});

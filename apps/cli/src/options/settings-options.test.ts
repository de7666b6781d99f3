import { Command } from 'commander';
import { buildProgram } from '../program.js';
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

test('every option that is a share takes both forms, and its help says so', () => {
  const commands = (command: Command): Command[] => [command, ...command.commands.flatMap((one) => commands(one))];
  const shares = commands(buildProgram()).flatMap(({ options }) => options.filter(({ flags }) => flags.endsWith('<share>')));
  const flags = new Set(shares.map(({ long }) => long));
  for (const flag of ['--target-sparsity', '--mask-noise', '--recover-lora-dropout', '--top-p', '--sparsity', '--tolerance'])
    expect(flags).toContain(flag);
  for (const { long, description, parseArg } of shares) {
    const read = parseArg as (text: string) => unknown;
    expect([long, read('0.5'), read('50%')]).toEqual([long, 0.5, 0.5]);
    expect(description).toMatch(/%|in percent/);
  }
});

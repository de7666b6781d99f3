import { parseArguments, UsageError } from './arguments.js';

test('without options one run of the whole length is measured, with preset short', () => {
  const settings = { preset: 'short' };
  expect(parseArguments([])).toEqual({ runs: 1, settings, threads: 2, turnMs: 3000, plan: undefined, out: undefined });
});

test('settings of the run that are left out are those of its preset', () => {
  const { settings } = parseArguments(['--preset', 'nuteprune2', '--steps', '100', '--recover-steps', '0', '--segment-steps', '50']);
  expect(settings).toEqual({ preset: 'nuteprune2', totalSteps: 100, recoverSteps: 0, segmentSteps: 50 });
});

test.each([
  [['--runs', '0'], '--runs must be a whole number from 1 to 1000, not "0"'],
  [['--turn-ms', 'long'], '--turn-ms must be a whole number from 500 to 60000, not "long"'],
  [['--steps', '1e9'], '--steps must be a whole number from 10 to 10000, not "1e9"'],
  [['--nonsense'], "Unknown option '--nonsense'"],
])('%j is refused with what is allowed', (args, message) => {
  expect(() => parseArguments(args)).toThrow(message);
});

test('--help is not a mistake', () => {
  expect(() => parseArguments(['--help'])).toThrow(expect.objectContaining({ exitCode: 0 }) as UsageError);
});

import { parseArguments, UsageError } from './arguments.js';

test('without options one run of the whole length is measured', () => {
  expect(parseArguments([])).toEqual({ runs: 1, steps: 1400, threads: 2, turnMs: 3000, plan: undefined, out: undefined });
});

test.each([
  [['--runs', '0'], '--runs must be a whole number from 1 to 1000, not "0"'],
  [['--turn-ms', 'long'], '--turn-ms must be a whole number from 500 to 60000, not "long"'],
  [['--steps', '1e9'], '--steps must be a whole number from 10 to 10000, not "1e9"'],
  [['--nonsense'], "Unknown option '--nonsense'"],
])('%j is refused with what is allowed', (args, message) => {
  expect(() => parseArguments(args)).toThrow(message);
});

test('--help is no mistake', () => {
  expect(() => parseArguments(['--help'])).toThrow(expect.objectContaining({ exitCode: 0 }) as UsageError);
});

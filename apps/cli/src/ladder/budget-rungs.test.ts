// Budgets of a ladder: how amounts are typed, and which model each one chooses.
import {
  aimOption,
  aimWords,
  amountsOf,
  bytesByBudget,
  bytesCounted,
  largestWithin,
  sizeWords,
  smallestOf,
  type Sizes,
} from './budget-rungs.js';

const model = (parameters: number, name = ''): Sizes & { name: string } => ({
  name,
  parameters,
  bytes: 2 * parameters,
  multiplicationShare: parameters / 4e6,
});
const models = [model(3e6), model(2e6, 'before recovery'), model(1e6), model(2e6, 'after it')];
const chosen = (setting: 'targetParams' | 'targetBytes' | 'targetMacs', amounts: string) =>
  amountsOf(setting, amounts).map((aim) => largestWithin(models, aim)?.parameters);

test('each amount has the largest model within it', () => {
  expect(chosen('targetParams', '1M,1.5M, 2M,9e6')).toEqual([1e6, 1e6, 2e6, 3e6]);
  expect(chosen('targetBytes', '4MB,1MiB')).toEqual([2e6, undefined]);
  expect(chosen('targetMacs', '25%,0.6')).toEqual([1e6, 2e6]);
});

test('of equal models the later one is taken', () => {
  expect(largestWithin(models, { setting: 'targetParams', amount: 2.5e6 })).toMatchObject({ name: 'after it' });
});

test("bytes count as the run's budget of bytes counts them", () => {
  const ofBytes = { setting: 'target_bytes', intact: 4e6 };
  expect([bytesByBudget(ofBytes, 0.25), bytesCounted(ofBytes)]).toEqual([3e6, "as the run's budget counts bytes"]);
  const ofParameters = { setting: 'target_params', intact: 2e6 };
  expect([bytesByBudget(ofParameters, 0.25), bytesCounted(ofParameters)]).toEqual([undefined, "of weights in the model's type"]);
  expect(bytesByBudget(undefined, 0.25)).toBeUndefined();
});

test('words name the option and what is there', () => {
  const [aim] = amountsOf('targetParams', '500k');
  expect(smallestOf(models, aim!).parameters).toBe(1e6);
  expect([aimOption(aim!), aimWords(aim!), sizeWords(smallestOf(models, aim!), aim!)]).toEqual([
    '--target-params',
    '500k parameters',
    '1M parameters',
  ]);
  const close = (setting: Parameters<typeof amountsOf>[0], amount: string, parameters: number): string =>
    sizeWords(model(parameters), amountsOf(setting, amount)[0]!);
  expect(close('targetParams', '2M', 2_000_747)).toBe('2,000,747 parameters');
  expect(close('targetBytes', '4MB', 2_000_011)).toBe('4,000,022 bytes');
});

test.each([
  ['targetParams', '1M,', 'A whole number of parameters is allowed'],
  ['targetParams', '1M,0', 'An amount above 0'],
  ['targetBytes', 'much', 'A whole number of bytes is allowed'],
  ['targetMacs', '150%', 'up to 1 is allowed'],
] as const)('%s of "%s" is refused', (setting, text, words) => {
  expect(() => amountsOf(setting, text)).toThrow(words);
});

import { hasSuffixes, timeWords, typedNumber } from '#comparison';

const number = (unit: string, text: string, share = false): unknown => {
  try {
    return typedNumber({ share, unit }, text);
  } catch (error) {
    return (error as Error).message;
  }
};

test('amounts have the suffixes of their unit', () => {
  expect(['2.1M', '1_000', '1.1e9', '3 b'].map((text) => number('parameters', text))).toEqual([2_100_000, 1_000, 1.1e9, 3e9]);
  expect(['2.5GiB', '800mb', '64'].map((text) => number('bytes', text))).toEqual([2.5 * 1024 ** 3, 8e8, 64]);
  expect(number('bytes', '2.5M')).toBe('A whole number of bytes is allowed, e.g. 2.5GiB or 800MB.');
  expect(['parameters', 'bytes', ''].map(hasSuffixes)).toEqual([true, true, false]);
});

test('an amount is a whole number: one with a suffix is rounded, and another fraction is refused', () => {
  expect(number('bytes', '0.3GiB')).toBe(322_122_547);
  expect(number('parameters', '1.005k')).toBe(1_005); // 1.005 times 1000 is less by a rounding error
  expect(['2.5e3', '1.0'].map((text) => number('parameters', text))).toEqual([2_500, 1]);
  const refused = 'A whole number of parameters is allowed, e.g. 1.1e9 or 2.1M.';
  expect(['250000.5', '2.5', '1.23e1'].map((text) => number('parameters', text))).toEqual([refused, refused, refused]);
});

test('a share may be in percent, other numbers may not', () => {
  expect(['0.5', '50%', '1/2'].map((text) => number('', text, true))).toEqual([0.5, 0.5, 0.5]);
  expect(number('', '50%')).toBe('A number is allowed, e.g. 0.5 or 1e-3.');
  expect(number('', 'half', true)).toBe('A number is allowed, e.g. 0.5 or 50%.');
  expect(number('', '50', true)).toBe('A share from 0 to 1 is allowed, e.g. 0.5 or 50%: 50 percent is written 50%.');
  expect(number('', '50')).toBe(50);
});

test('a time names its unit', () => {
  expect(['90s', '10m', '1.5h', '0'].map((text) => number('time', text))).toEqual([90, 600, 5_400, 0]);
  const refused = 'A time is allowed, e.g. 90s, 10m or 2h.';
  expect(['90', '10 min', '2d', '-5s'].map((text) => number('time', text))).toEqual(Array(4).fill(refused));
  expect([90, 600, 5_400, 7_200, 0.5].map(timeWords)).toEqual(['90s', '10m', '90m', '2h', '0.5s']);
});

import { byteWords } from '#comparison';

it.each([
  [0, '0 B'],
  [1_023, '1023 B'],
  [1_024n, '1.00 KiB'],
  [690_832_944n, '658.8 MiB'],
  [3 * 2 ** 40, '3.00 TiB'],
])('%s bytes are %s', (value, words) => {
  expect(byteWords(value)).toBe(words);
});

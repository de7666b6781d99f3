// Tests the words for the size and speed of a pruned model.
import { v1 } from '#protocol';
import { resultWords } from './result-words.js';

const words = (multiplicationShare: number): string =>
  resultWords(v1.ResultEstimate.fromPartial({ parameterCount: 717_310n, multiplicationShare }), undefined);

test('the words say how much faster a token can be, and make no number of a gain that does not show', () => {
  expect(words(0.17)).toMatch(
    /717,310 parameters, .*; a token takes 17% of the dense model's multiplications, so it is at most 5\.9x faster$/,
  );
  expect(words(0.99)).toMatch(/a token takes 99% of the dense model's multiplications, so it is hardly faster$/);
});

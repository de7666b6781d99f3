import { narrowed, withBounds, withoutBounds } from './bounds.js';

describe('the bounds that a reader marks in a plot of runs', () => {
  test('are conditions of the list, and replace older bounds of the same figures', () => {
    const where = ['recipe=lm', 'perplexity >= 3', 'perplexity<=9', 'seed>=1'];
    expect(withBounds(where, [{ name: 'perplexity', low: 4.00049, high: 5 }])).toEqual([
      'recipe=lm',
      'seed>=1',
      'perplexity>=4',
      'perplexity<=5',
    ]);
  });

  test('of a setting are values that runs have, since a setting allows no others', () => {
    const marked = narrowed({ name: 'total_steps', low: 0.3, high: 12_346.7 }, [1, 150, 12_345, 20_000]);
    expect(withBounds([], [marked])).toEqual(['total_steps>=1', 'total_steps<=12345']);
    expect(narrowed({ name: 'total_steps', low: 2, high: 3 }, [1])).toEqual({ name: 'total_steps', low: 2, high: 3 });
  });

  test('go without other conditions', () => {
    expect(withoutBounds(['perplexity>=3', 'perplexity<9', 'perplexity_like>=1'], ['perplexity'])).toEqual([
      'perplexity<9',
      'perplexity_like>=1',
    ]);
  });
});

import { tableOf, type Trial } from './table.js';

const trial = (name: string, target: number, seed: string, selection: number): Trial => ({
  name,
  target,
  seed,
  expectedSparsity: target,
  hardSparsity: target + 0.004,
  overshoot: 0,
  seconds: 40,
  selection,
  report: selection + 1,
  whole: selection + 0.5,
});

describe('the table of recipes', () => {
  it('has a line for each target and recipe, the best on the selection half first, with its seeds', () => {
    const lines = tableOf([
      trial('plain', 0.5, '1', 6),
      trial('plain', 0.5, '2', 6.2),
      trial('rank 64', 0.5, '1', 5),
      trial('plain', 0.2, '1', 5.5),
    ]);
    expect(lines.split('\n').slice(2)).toEqual([
      '| 20% | plain | 1 | 5.50 ±0.00 | 6.50 ±0.00 | 6.00 ±0.00 | 20.4% | 40 |',
      '| 50% | rank 64 | 1 | 5.00 ±0.00 | 6.00 ±0.00 | 5.50 ±0.00 | 50.4% | 40 |',
      '| 50% | plain | 2 | 6.10 ±0.10 | 7.10 ±0.10 | 6.60 ±0.10 | 50.4% | 40 |',
    ]);
  });
});

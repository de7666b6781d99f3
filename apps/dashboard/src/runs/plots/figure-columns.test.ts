import { runsOf, valueOf, withChanged, type DrawnRun } from './figure-columns.js';

const run = (runId: string, perplexity: number): DrawnRun => ({ runId, name: runId, numbers: { perplexity }, texts: {} });

describe('the runs of a plot', () => {
  test('have a number or a text of each column, and none where the server has none', () => {
    const columns = [
      { name: 'perplexity', numbers: [5, NaN], texts: [] },
      { name: 'recipe', numbers: [], texts: ['lm', ''] },
    ] as unknown as Parameters<typeof runsOf>[0]['columns'];
    const runs = runsOf({ runIds: ['a', 'b'], names: ['first', ''], columns });
    expect(runs).toEqual([
      { runId: 'a', name: 'first', numbers: { perplexity: 5 }, texts: { recipe: 'lm' } },
      { runId: 'b', name: '', numbers: {}, texts: { recipe: '' } },
    ]);
    expect(runs.map((one) => valueOf(one, 'perplexity'))).toEqual([5, undefined]);
  });

  test('keep their places when some change; one that no longer matches goes, and a new one comes', () => {
    const before = [run('a', 1), run('b', 2), run('c', 3)];
    const after = withChanged(before, ['b', 'c', 'd'], [run('d', 4), run('b', 5)]);
    expect(after).toEqual([run('a', 1), run('b', 5), run('d', 4)]);
    expect(after[0]).toBe(before[0]);
  });
});

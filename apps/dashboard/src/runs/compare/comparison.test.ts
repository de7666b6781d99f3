import { differenceOf, differingSettings, groupsOf, meanLine, sorted, summaryOf, type Member } from './comparison.js';

let ids = 0;
const member = (name: string, settings: Record<string, string>, figures: Record<string, number> = {}): Member => ({
  runId: `run${(ids += 1)}`,
  name,
  settings,
  figures,
});
const seeds = [2, 4, 6].map((perplexity, index) => member(`base-${index}`, { recipe: 'a', seed: String(index) }, { perplexity }));
const other = member('lm', { recipe: 'lm', seed: '1' }, { perplexity: 3 });

describe('runs that are compared', () => {
  test('with the same settings but for the seed are one group, named by what their names have in common', () => {
    const groups = groupsOf([...seeds, other], true);
    expect(groups.map(({ name, members }) => [name, members.length])).toEqual([
      ['base (3 seeds)', 3],
      ['lm', 1],
    ]);
    expect(groupsOf([...seeds, other], false)).toHaveLength(4);
  });

  test('with the same name are told apart by their ids', () => {
    const names = groupsOf([member('x', { seed: '1' }), member('x', { seed: '2' })], false).map(({ name }) => name);
    expect(new Set(names).size).toBe(2);
  });

  test('have mean and spread over those that have the figure', () => {
    const [group] = groupsOf(seeds, true);
    expect(summaryOf(group!, 'perplexity')).toEqual({ mean: 4, spread: 2, n: 3 });
    expect(summaryOf(group!, 'loss')).toBeUndefined();
    expect(summaryOf({ name: '', members: [other] }, 'perplexity')).toEqual({ mean: 3, spread: undefined, n: 1 });
  });

  test('differ from the baseline with a sign, and for the better or the worse', () => {
    const of = (mean: number) => ({ mean, spread: undefined, n: 1 });
    expect(differenceOf(of(3), of(5), 'low')).toEqual({ value: -2, verdict: 'better' });
    expect(differenceOf(of(3), of(5), 'high')).toEqual({ value: -2, verdict: 'worse' });
    expect(differenceOf(of(6), of(5), 'neither')).toEqual({ value: 1, verdict: 'other' });
    expect(differenceOf(of(5), of(5), 'low')).toBeNull();
    expect(differenceOf(undefined, of(5), 'low')).toBeNull();
  });

  test('differ for the better or the worse only where seeds alone would not differ so much', () => {
    const of = (mean: number) => ({ mean, spread: 1, n: 4 });
    expect(differenceOf(of(4), of(5), 'low')?.verdict).toBe('chance');
    expect(differenceOf(of(3), of(5), 'low')?.verdict).toBe('better');
    expect(differenceOf({ ...of(4), spread: undefined }, of(5), 'low')?.verdict).toBe('better');
  });

  test('are sorted by a figure behind the baseline, those without it last', () => {
    const groups = groupsOf([other, ...seeds, member('without', {})], false);
    const names = (descends: boolean): string[] => sorted(groups, 'perplexity', descends).map(({ name }) => name);
    expect(names(false)).toEqual(['lm', 'base-0', 'base-1', 'base-2', 'without']);
    expect(names(true)).toEqual(['lm', 'base-2', 'base-1', 'base-0', 'without']);
    expect(sorted(groups, '', false)).toEqual(groups);
  });

  test('show the settings in which they differ', () => {
    expect(differingSettings(groupsOf([...seeds, other], true))).toEqual([
      ['recipe', ['a', 'lm']],
      ['seed', ['0, 1, 2', '1']],
    ]);
    expect(differingSettings(groupsOf(seeds, true))).toEqual([]);
  });
});

test('the mean of lines has a value where all of them have one', () => {
  const lines = [
    { places: [0, 2], values: [1, 3] },
    { places: [0, 1, 3], values: [3, 5, 9] },
  ];
  expect(meanLine(lines, [0, 1, 2, 3])).toEqual({
    values: [2, 3.5, 5, null],
    lowest: [1, 2, 3, null],
    highest: [3, 5, 7, null],
  });
});

import {
  differenceOf,
  differingSettings,
  groupsOf,
  meanLine,
  oneAfterAnother,
  sorted,
  summaryOf,
  type Group,
  type Member,
} from './comparison.js';

let ids = 0;
const member = (
  name: string,
  settings: Record<string, string>,
  figures: Record<string, number> = {},
  more: Partial<Member> = {},
): Member => ({
  runId: `run${(ids += 1)}`,
  name,
  settings,
  figures,
  measure: 'windows of 64 tokens, text a',
  isFork: false,
  ...more,
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

  test('that are forks, or have a seed a second time, are no further seeds: neither is an independent sample', () => {
    const fork = member('base-fork', { recipe: 'a', seed: '9' }, { perplexity: 3 }, { isFork: true });
    const again = member('base-again', { recipe: 'a', seed: '0' }, { perplexity: 2 });
    expect(groupsOf([...seeds, fork, again], true).map(({ name }) => name)).toEqual(['base (3 seeds)', 'base-fork', 'base-again']);
    expect(groupsOf([seeds[0]!, fork], true).map(({ members }) => members.length)).toEqual([1, 1]);
  });

  test('differ from the baseline with a sign; only perplexity makes a run better or worse', () => {
    const one = (perplexity: number, loss: number): Group => ({ name: '', members: [member('', {}, { perplexity, 'last loss': loss })] });
    expect(differenceOf(one(3, 130), one(5, 1.4), 'last loss')).toEqual({ value: 128.6, verdict: 'none', why: '' });
    expect(differenceOf(one(5, 1), one(5, 1), 'perplexity')).toBeNull();
    expect(differenceOf({ name: '', members: [member('', {})] }, one(5, 1), 'perplexity')).toBeNull();
  });

  describe('are called better or worse', () => {
    const group = ([first, ...others]: [number, ...number[]], size = 100, more: Partial<Member> = {}): Group => {
      const measured = (perplexity: number) => member('', {}, { perplexity, 'parameters left': size }, more);
      return { name: '', members: [measured(first), ...others.map(measured)] };
    };
    const baseline = group([5, 5.1]);
    const verdict = (own: Group) => {
      const { verdict: word, why } = differenceOf(own, baseline, 'perplexity')!;
      return [word, why];
    };

    test('at one size, over several seeds', () => {
      expect(verdict(group([3, 3.1]))).toEqual(['better', '']);
      expect(verdict(group([7, 7.1], 100.5))).toEqual(['worse', '']);
    });

    test('not with one seed, by another measure, or where seeds alone would differ so much', () => {
      expect(verdict(group([3]))).toEqual(['none', 'one seed']);
      expect(verdict(group([3, 3.1], 100, { measure: 'windows of 64 tokens, text b' }))).toEqual(['none', 'another measure']);
      expect(verdict(group([4, 6.2]))).toEqual(['none', 'may be chance']);
    });

    test('not where one of them is larger and better: that is a trade', () => {
      expect(verdict(group([3, 3.1], 120))).toEqual(['none', 'better, but larger']);
      expect(verdict(group([7, 7.1], 80))).toEqual(['none', 'worse, but smaller']);
      expect(verdict(group([3, 3.1], 80))).toEqual(['better', 'and smaller']);
      expect(verdict(group([7, 7.1], 120))).toEqual(['worse', 'and larger']);
    });
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

test('on an axis whose places need not rise, lines follow one another', () => {
  const [one, other] = [
    { places: [0.1, 0.3, 0.2], values: [5, 6, 7] },
    { places: [0.5], values: [8] },
  ];
  expect(oneAfterAnother([one, other])).toEqual({
    x: [0.1, 0.3, 0.2, 0.5],
    values: [
      [5, 6, 7, null],
      [null, null, null, 8],
    ],
  });
});

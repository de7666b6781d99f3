// Tests accuracies, perplexities and deviations against values worked out by hand.
import type { MeanTask, ScoredTask } from './declaration.js';
import { meanOf, measure, type Answer, type Measured } from './metrics.js';
import type { Question } from './questions.js';

const question = (over: Partial<Question>): Question => ({
  index: 0,
  file: 'f',
  line: 1,
  group: '',
  asks: { kind: 'pairs', pairs: [] },
  gold: 0,
  lengths: [1, 1],
  words: 0,
  bytes: 0,
  ...over,
});
const answer = (...logLikelihoods: number[]): Answer => ({ logLikelihoods, greedy: logLikelihoods.map(() => false) });
const choices = { kind: 'choices', metrics: ['acc', 'acc_norm'] } as ScoredTask;
const byName = (measures: Measured[]): Record<string, Measured> => Object.fromEntries(measures.map((one) => [one.metric, one]));

test('acc takes the likeliest choice, acc_norm the likeliest a character; of equal ones the first', async () => {
  const questions = [
    question({ gold: 0, lengths: [10, 2] }),
    question({ gold: 1, lengths: [4, 4] }),
    question({ gold: 0, lengths: [4, 4] }),
  ];
  const answers = [answer(-5, -4), answer(-3, -3), answer(-3, -3)];
  const { acc, acc_norm } = byName(await measure(choices, questions, answers));
  expect(acc).toMatchObject({ value: 1 / 3, n: 3 }); // question 1: -4 wins; a tie goes to choice 0
  expect(acc_norm).toMatchObject({ value: 2 / 3, n: 3 }); // -0.5 a character wins against -2
  // The questions score 0, 0, 1: the deviation is sqrt((2/9 + 4/9) / 2), divided by the root of 3.
  expect(acc!.stderr).toBeCloseTo(Math.sqrt(2 / 3 / 2 / 3), 12);
});

test('one question has no deviation', async () => {
  expect((await measure(choices, [question({})], [answer(-1, -2)]))[0]!.stderr).toBeNull();
});

test('groups are weighted by size and their variances pooled', async () => {
  const groups = ['a', 'a', 'b', 'b', 'b', 'b'];
  const right = [1, 0, 1, 1, 1, 0];
  const questions = groups.map((group) => question({ group, gold: 0 }));
  const answers = right.map((one) => (one === 1 ? answer(-1, -2) : answer(-2, -1)));
  const { acc } = byName(await measure(choices, questions, answers));
  expect(acc!.value).toBeCloseTo(4 / 6, 12);
  // The sample variances of the groups are 1/2 for two questions and 1/4 for four.
  expect(acc!.stderr).toBeCloseTo(Math.sqrt((1 * (1 / 2) + 3 * (1 / 4)) / (6 - 2) / 6), 12);
});

test('lambada: perplexity of the words, and whether greedy decoding says them', async () => {
  const task = { kind: 'continuation', metrics: ['perplexity', 'acc'] } as ScoredTask;
  const answers = [
    { logLikelihoods: [-1], greedy: [true] },
    { logLikelihoods: [-3], greedy: [false] },
  ];
  const { perplexity, acc } = byName(await measure(task, [question({}), question({})], answers));
  expect(perplexity!.value).toBeCloseTo(Math.exp(2), 12);
  expect(acc!.value).toBe(0.5);
  // The resampled means are -1, -2 (twice as often) and -3.
  const values = [Math.E, Math.exp(2), Math.exp(2), Math.exp(3)];
  const centre = values.reduce((sum, one) => sum + one / 4, 0);
  const deviation = Math.sqrt(values.reduce((sum, one) => sum + (one - centre) ** 2 / 4, 0));
  expect(perplexity!.stderr! / deviation).toBeCloseTo(1, 1);
});

test('wikitext: by words and bytes of all texts together', async () => {
  const task = { kind: 'rolling', metrics: ['word_perplexity', 'byte_perplexity', 'bits_per_byte'] } as ScoredTask;
  const questions = [question({ words: 4, bytes: 20 }), question({ words: 6, bytes: 30 })];
  const measures = byName(await measure(task, questions, [answer(-10), answer(-20)]));
  expect(measures['word_perplexity']).toEqual({ metric: 'word_perplexity', value: Math.exp(3), stderr: null, n: 10 });
  expect(measures['byte_perplexity']!.value).toBeCloseTo(Math.exp(30 / 50), 12);
  expect(measures['bits_per_byte']!.value).toBeCloseTo(30 / 50 / Math.LN2, 12);
});

test('a mean needs all its tasks', () => {
  const mean: MeanTask['means'][number] = { convention: 'c', of: { x: 'acc', y: 'acc_norm' } };
  const x: Measured = { metric: 'acc', value: 0.4, stderr: 0.03, n: 9 };
  const y: Measured = { metric: 'acc_norm', value: 0.8, stderr: 0.04, n: 9 };
  expect(meanOf(mean, new Map([['x', [x]]]))).toBeNull();
  const whole = meanOf(
    mean,
    new Map([
      ['x', [x]],
      ['y', [y]],
    ]),
  )!;
  expect(whole.value).toBeCloseTo(0.6, 12);
  expect(whole.stderr).toBeCloseTo(0.025, 12);
});

test('a text is right where what is taken from it is the answer, word for word', async () => {
  const text = (answer: string, wrote: string): [Question, Answer] => [
    question({ asks: { kind: 'text', prompt: '', answer } }),
    { logLikelihoods: [], greedy: [], text: wrote },
  ];
  const told = (task: object, ...pairs: [Question, Answer][]): Promise<number> =>
    measure(
      { kind: 'generation', metrics: ['exact_match'], ...task } as ScoredTask,
      pairs.map(([one]) => one),
      pairs.map(([, one]) => one),
    ).then(([measured]) => measured!.value);
  const take = { take: '(?<=the answer is )(.*)(?=.)' };
  expect(await told(take, text('(B)', 'So. So the answer is (B).'))).toBe(1);
  expect(await told(take, text('(B)', 'the answer is (B)'))).toBe(0); // the pattern leaves out the last character
  expect(await told(take, text('(B)', 'the answer is (A). No, the answer is (B).'))).toBe(0); // it takes all to the end of the line
  expect(await told(take, text('', 'no idea'))).toBe(0);
  expect(await told({}, text('No', ' No\n'), text('No', ' no'))).toBe(0.5);
  const endless = told({ task: 'mine', take: '(a+)+$' }, text('b', `${'a'.repeat(60)}!`));
  await expect(endless).rejects.toMatchObject({
    code: 'TASK_INVALID',
    message: expect.stringMatching(/^mine: take: .* ran for more than 2 s/),
  });
});

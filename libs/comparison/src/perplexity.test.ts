import { perplexityOf } from './perplexity.js';

const measured = (more: object) => ({
  task: 'text',
  metric: 'perplexity',
  subject: 'masked',
  stateDigest: 's1',
  window: 64,
  convention: 'windows of 64 tokens',
  dataDigest: 'own',
  dataPath: '/own.txt',
  headline: false,
  perplexity: 6,
  ...more,
});
const run = (...evaluations: ReturnType<typeof measured>[]) => ({
  evaluations,
  settings: { evaluationWindow: 64 },
  data: { validationPath: '/own.txt' },
});

test.each([
  ['another state', { stateDigest: 's2' }],
  ['an export of the state', { subject: 'export:abc' }],
  ['another window', { window: 32, convention: 'windows of 32 tokens' }],
  ['another text', { dataDigest: 'another', dataPath: '/another.txt' }],
  ['a task', { task: 'boolq', metric: 'acc' }],
])('the perplexity of a state is not that of %s', (_name, more) => {
  expect(perplexityOf(run(measured(more)), 's1')).toBeUndefined();
  expect(perplexityOf(run(measured({}), measured({ ...more, perplexity: 7 })), 's1')).toBe(6);
});

test('the last value counts; the intact model has no state', () => {
  const intact = measured({ subject: 'intact', stateDigest: '', perplexity: 5 });
  expect(perplexityOf(run(intact, measured({}), measured({ perplexity: 6.5 })), 's1')).toBe(6.5);
  expect(perplexityOf(run(intact, measured({})), '')).toBe(5);
});

test('where a headline is known, its text counts, wherever it lies', () => {
  const moved = measured({ dataPath: '/moved.txt' });
  expect(perplexityOf(run(moved), 's1')).toBeUndefined();
  expect(perplexityOf(run(moved, measured({ stateDigest: 'last', headline: true })), 's1')).toBe(6);
});

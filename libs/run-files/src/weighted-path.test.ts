import { weightedPath, withWeights } from './weighted-path.js';

const nothing = (): boolean => false;

test.each([
  ['web.jsonl=0.7', { path: 'web.jsonl', weight: 0.7 }],
  ['a=b/web.jsonl=3', { path: 'a=b/web.jsonl', weight: 3 }],
  ['web.jsonl=1e-3', { path: 'web.jsonl', weight: 0.001 }],
  ['web.jsonl', { path: 'web.jsonl' }],
  ['date=today/web.jsonl', { path: 'date=today/web.jsonl' }],
  ['date=2024/web.jsonl', { path: 'date=2024/web.jsonl' }],
  ['=0.5', { path: '=0.5' }],
])('%s', (text, read) => {
  expect(weightedPath(text, nothing)).toEqual(read);
});

test.each(['web.jsonl=0', 'web.jsonl=-1', 'web.jsonl=NaN', 'web.jsonl=Infinity', 'web.jsonl=0.7.1', 'web.jsonl=70%', 'web.jsonl=1e999'])(
  '%s has no weight',
  (text) => {
    expect(() => weightedPath(text, nothing)).toThrow(/is not a weight; a number above 0 is allowed after "="/);
  },
);

test('a path that is there counts before a weight, and can have one', () => {
  const isThere = (path: string): boolean => path === 'run=3';
  expect(weightedPath('run=3', isThere)).toEqual({ path: 'run=3' });
  expect(weightedPath('run=3=0.5', isThere)).toEqual({ path: 'run=3', weight: 0.5 });
});

test('a weight after a colon is refused with the right form, unless a path has that name', () => {
  expect(() => weightedPath('a.jsonl:0.7', (path) => path === 'a.jsonl')).toThrow('a weight is after "=": a.jsonl=0.7');
  expect(() => weightedPath('missing.jsonl:0.7', nothing)).toThrow('a weight is after "=": missing.jsonl=0.7');
  expect(weightedPath('a.jsonl:7', (path) => path === 'a.jsonl:7')).toEqual({ path: 'a.jsonl:7' });
  expect(weightedPath('hf://a:7', nothing)).toEqual({ path: 'hf://a:7' });
});

test('what is written is read again', () => {
  expect(withWeights(['/a', '/b'], [0.25, 0.75]).map((text) => weightedPath(text, nothing))).toEqual([
    { path: '/a', weight: 0.25 },
    { path: '/b', weight: 0.75 },
  ]);
  expect(withWeights(['/a', '/b'], [])).toEqual(['/a', '/b']);
});

import { nameOfRun, studyNamed } from './study-names.js';

const studies = [
  { studyId: 'abcdefghijkl', name: 'recipes' },
  { studyId: 'abcdeaaaaaaa', name: 'seeds' },
  { studyId: 'zzzzzzzzzzzz', name: 'abcdefghijkl' },
];
const named = (text: string): string => studyNamed(studies, text).studyId;

test.each([
  ['abcdefghijkl', 'abcdefghijkl'], // an id comes before a name
  ['seeds', 'abcdeaaaaaaa'],
  ['abcdea', 'abcdeaaaaaaa'],
  ['zzzz', 'zzzzzzzzzzzz'],
])('%s names one study', (text, studyId) => expect(named(text)).toBe(studyId));

test('a beginning that several ids have is refused, and says whose it is', () => {
  expect(() => named('abcde')).toThrow(
    expect.objectContaining({
      code: 'STUDY_ID_AMBIGUOUS',
      field: 'study_id',
      message: expect.stringContaining('abcdefghijkl (recipes), abcdeaaaaaaa (seeds); give the whole id') as string,
    }),
  );
});

test.each([
  ['', 'FIELD_REQUIRED'],
  ['abc', 'STUDY_NOT_FOUND'], // too short for the beginning of an id
  ['nothing', 'STUDY_NOT_FOUND'],
])('%j is refused with %s', (text, code) => expect(() => named(text)).toThrow(expect.objectContaining({ code, field: 'study_id' })));

test('runs that differ by their seed alone have names of their own, however long the names are', () => {
  expect(nameOfRun('rates', 'high', '7')).toBe('rates: high, seed 7');
  expect(nameOfRun('rates', 'high', undefined)).toBe('rates: high');
  const [one, other] = ['1', '2'].map((seed) => nameOfRun('s'.repeat(100), 'v'.repeat(100), seed));
  expect(one).not.toBe(other);
  expect(one).toHaveLength(120);
});

import {
  exportOptions,
  exportSubject,
  INTACT,
  LAST,
  marksIn,
  subjectRequest,
  subjectWords,
  teacherSubject,
  wholeNumber,
} from './subjects.js';

test('a model of a run is named as requests name it, and in words', () => {
  expect(subjectRequest(LAST)).toEqual({ intact: false, exportDigest: '' });
  expect(subjectRequest(INTACT)).toEqual({ intact: true, exportDigest: '' });
  expect(subjectRequest(teacherSubject(20))).toEqual({ intact: false, exportDigest: '', teacherMark: 20 });
  expect(subjectRequest(exportSubject('abcdef0123'))).toEqual({ intact: false, exportDigest: 'abcdef0123' });
  const words = [LAST, INTACT, teacherSubject(20), exportSubject('abcdef0123')].map((one) => subjectWords(subjectRequest(one)));
  expect(words).toEqual(['last state', 'intact model', 'teacher #20', 'export abcdef01']);
});

test('exports stand there once, the latest first', () => {
  const made = (digest: string, step: bigint) => ({ digest, step, format: 'gguf', dtype: 'f16' });
  const exports = [made('one', 1n), made('two', 2n), made('one', 1n)] as unknown as Parameters<typeof exportOptions>[0]['exports'];
  expect(exportOptions({ exports })).toEqual([
    ['export two', 'gguf f16 of step 2, two'],
    ['export one', 'gguf f16 of step 1, one'],
  ]);
});

test('marks stand with commas or blanks between; a word that is not a mark is named', () => {
  expect(marksIn(' 20, #30 20', 'teachers')).toEqual([20, 30]);
  expect(marksIn('', 'teachers')).toEqual([]);
  expect(() => marksIn('20, last', 'teachers')).toThrow(
    expect.objectContaining({ field: 'teachers', message: expect.stringContaining('"last"') }),
  );
});

test('a number that is left out is the default; a text that is not a number is named', () => {
  expect(wholeNumber(' 64 ', 'window')).toBe(64);
  expect(wholeNumber('', 'window')).toBe(0);
  for (const text of ['1.5', '-1', 'many', '4294967296'])
    expect(() => wholeNumber(text, 'window')).toThrow(expect.objectContaining({ field: 'window' }));
});

import { changedWords, tagsIn } from './description-changes.js';

const before = { name: 'first', tags: ['a', 'b'], note: 'good' };

test('only the words that have changed are sent', () => {
  expect(changedWords(before, before)).toEqual({ addTags: [], removeTags: [] });
  expect(changedWords(before, { name: '', tags: ['b', 'c'], note: 'good' })).toEqual({ name: '', addTags: ['c'], removeTags: ['a'] });
  expect(changedWords(before, { ...before, note: '' })).toEqual({ note: '', addTags: [], removeTags: [] });
});

test('tags stand with commas or blanks between, each once', () => {
  expect(tagsIn(' a, b  c,,a ')).toEqual(['a', 'b', 'c']);
  expect(tagsIn('')).toEqual([]);
});

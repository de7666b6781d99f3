import { EXAMPLE, inLineWords, lineOf, rangeOfLine } from './study-file.js';

test('the line that a refusal names is found in the text', () => {
  expect(lineOf('study.yaml:3: there is no "gird"')).toBe(3);
  expect(lineOf('name: a study needs a name')).toBeNull();
  const text = 'name: a\ngird: {}\n';
  expect(text.slice(...rangeOfLine(text, 2))).toBe('gird: {}');
  expect(text.slice(...rangeOfLine(text, 1))).toBe('name: a');
  expect(rangeOfLine(text, 9)).toEqual([text.length, text.length]);
});

test('a refusal speaks of lines, since the page has no file', () => {
  expect(inLineWords('study.yaml:12: run wanda: x')).toBe('line 12: run wanda: x');
  expect(inLineWords('study.yaml: name: a study needs a name')).toBe('name: a study needs a name');
});

test('the example begins with what every study needs', () => expect(EXAMPLE).toMatch(/^name: .+\nmodel: .+\ndata: .+\n/));

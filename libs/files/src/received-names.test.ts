// Tests that no received name leads out of the folder where its file is written.
import { isPlainName, pathInside } from './received-names.js';

test.each([
  '../x',
  '../../../../x',
  'a/../../x',
  '/x',
  '',
  '.',
  '..',
  './x',
  'a//b',
  'a/',
  'a\\..\\x',
  '.hidden',
  'a/.git',
  'a\0b',
  'a\nb',
])('%j is refused', (name) => {
  expect(isPlainName(name)).toBe(false);
  expect(() => pathInside('/folder', name)).toThrow(`a file was named ${JSON.stringify(name)}, which is not a plain name inside a folder`);
});

test.each(['README.md', 'model-00001-of-00002.safetensors', 'tokenizer/vocab.json', '__init__.py'])(
  '%j is a file in the folder',
  (name) => {
    expect(pathInside('/folder', name)).toBe(`/folder/${name}`);
  },
);

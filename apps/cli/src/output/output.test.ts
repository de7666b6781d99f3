import { PassThrough } from 'node:stream';
import { Output } from './output.js';

test('the styles of a table hold over the lines of a cell, and no code of them is shown as text', () => {
  const stdout = new PassThrough();
  const terminal = { isLive: true, isScreen: true, columns: 30, colour: true, unicode: true };
  const output = new Output({ json: false, colour: true }, terminal, stdout);
  output.table(['RUN', 'HEADS ONLY first'], [['abcd', output.style('red', '1 2 3 4 5 6 7 8 9 10 11 12 13')]], [], {
    'HEADS ONLY first': 'wrap',
  });
  output.table(['LAYER', 'HEADS ONLY first', 'HEADS ONLY second'], [['0', '1', '2']]);
  const shown = String(stdout.read());
  expect(shown).toMatch(/HEADS ONLY[^]*second/);
  expect(shown).not.toContain('\\u{1b}');
});

import { PassThrough } from 'node:stream';
import { Output } from './output.js';

test('the styles of a table hold over the lines of a cell, and no code of them is shown as text', () => {
  const stdout = new PassThrough();
  const terminal = { isLive: true, columns: 30, colour: true, unicode: true };
  const output = new Output({ json: false, colour: true }, terminal, stdout);
  output.table(['RUN', 'HEADS ONLY first'], [['abcd', output.style('red', '1 2 3 4 5 6 7 8 9 10 11 12 13')]], [], {
    'HEADS ONLY first': 'wrap',
  });
  output.table(['LAYER', 'HEADS ONLY first', 'HEADS ONLY second'], [['0', '1', '2']]);
  const shown = String(stdout.read());
  expect(shown).toMatch(/HEADS ONLY[^]*second/);
  expect(shown).not.toContain('\\u{1b}');
});

test("colours in texts of others are shown, and the command's own are codes, in every form of output", () => {
  const stdout = new PassThrough();
  const output = new Output({ json: false, colour: true }, { isLive: true, columns: 80, colour: true, unicode: true }, stdout);
  const theirs = 'x\u001b[31my\u001b[0m';
  output.line(`${output.style('green', 'ok')} ${theirs}`);
  output.piece(`${theirs}\n`);
  output.text(`${output.style('green', 'ok')} ${theirs}`);
  output.pairs([['name', theirs]]);
  output.table(['NAME'], [[`${output.style('green', 'ok')} ${theirs}`]]);
  const shown = 'x\\u{1b}[31my\\u{1b}[0m';
  const [green, dim, bold] = [32, 2, 1].map((code) => (text: string) => `\u001b[${code}m${text}\u001b[0m`);
  expect(String(stdout.read())).toBe(
    [
      `${green!('ok')} ${shown}`,
      shown,
      `${green!('ok')} ${shown}`,
      `${dim!('name')}  ${shown}`,
      bold!('NAME'),
      `${green!('ok')} ${shown}`,
      '',
    ].join('\n'),
  );
});

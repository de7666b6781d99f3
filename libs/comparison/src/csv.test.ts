import { csvCell } from '#comparison';

test.each([
  ['=HYPERLINK("http://evil.example","here")', `"'=HYPERLINK(""http://evil.example"",""here"")"`],
  ['=1+1', "'=1+1"],
  ['+1 555', "'+1 555"],
  ['-2+3', "'-2+3"],
  ['@SUM(A1)', "'@SUM(A1)"],
  ['\t=1', `"'\t=1"`],
  ['\r=1', `"'\r=1"`],
  [' =1', "' =1"],
  ['"=1', `"'""=1"`],
  ['＝1+1', "'＝1+1"],
  ['a;=1', `"a;'=1"`],
  ['a\n=1', `"a\n'=1"`],
  ['a\t@x', `"a\t'@x"`],
])('%j is not a formula for a spreadsheet', (text, cell) => {
  expect(csvCell(text)).toBe(cell);
});

test.each([
  ['', ''],
  ['plain', 'plain'],
  ['a=b', 'a=b'],
  ['-0.5', '-0.5'],
  ['-1e-05', '-1e-05'],
  ['-.5', '-.5'],
  ['a,b', '"a,b"'],
  ['say "so"', '"say ""so"""'],
])('%j stays what it is', (text, cell) => {
  expect(csvCell(text)).toBe(cell);
});

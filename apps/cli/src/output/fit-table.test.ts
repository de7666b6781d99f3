import { fitTable } from './fit-table.js';
import { cutTo, widthOf, wrapLines, wrapTo } from './text-width.js';

describe('text in columns', () => {
  test('wide characters take two columns, and are never cut in two', () => {
    expect(widthOf('日本語')).toBe(6);
    expect(widthOf('👩‍🔬')).toBe(2);
    expect(cutTo('日本語の名前', 8)).toBe('日本語…');
    expect(cutTo('ab👩‍🔬cd', 4)).toBe('ab…');
    expect(cutTo('short', 5)).toBe('short');
  });

  test('lines are broken between words, and within one that is too long', () => {
    expect(wrapTo('one two three', 8)).toEqual(['one two', 'three']);
    expect(wrapTo('aaaaaaaaaa b', 4)).toEqual(['aaaa', 'aaaa', 'aa b']);
    expect(wrapTo('日本語日本語', 5)).toEqual(['日本', '語日', '本語']);
  });

  test('a long line goes on further in, a path stays whole, and what is not for a screen stays as it is', () => {
    const text = 'error NOT_FOUND: there is no file /a/path/of/31/characters/here at all\n  a hint that is long too';
    expect(wrapLines(text, 25)).toBe(
      ['error NOT_FOUND: there is', '  no file', '  /a/path/of/31/characters/here', '  at all', '  a hint that is long too'].join('\n'),
    );
    expect(wrapLines(text, Infinity)).toBe(text);
  });
});

describe('a table in the width of the terminal', () => {
  const head = ['RUN', 'NAME', 'STEP', 'LAUNCHED', 'NOTE'];
  const rows = [
    ['abcdefghij23', 'a name of the usual length', '40/100', '2026-01-02 03:04:05', ''],
    ['abcdefghij24', '非常に長い名前をつけた実行その二', '1/100', '2026-01-02 03:04:05', ''],
  ];
  const fit = { NAME: 'cut', LAUNCHED: 1 } as const;
  const widthAt = (columns: number) => {
    const fitted = fitTable(head, rows, fit, columns);
    const all = [fitted.head, ...fitted.rows];
    return fitted.head.reduce((sum, _, column) => sum + Math.max(...all.map((row) => widthOf(row[column]!))) + 2, -2);
  };

  test.each([40, 60, 80, 120, 200])('%i columns are kept to', (columns) => expect(widthAt(columns)).toBeLessThanOrEqual(columns));

  test('a column that says nothing is left out, then texts are cut, then the least important column goes', () => {
    expect(fitTable(head, rows, fit, 200)).toMatchObject({
      head: ['RUN', 'NAME', 'STEP', 'LAUNCHED'],
      rows: rows.map((row) => row.slice(0, 4)),
    });
    expect(fitTable(head, rows, fit, 60).head).toEqual(['RUN', 'NAME', 'STEP', 'LAUNCHED']);
    const narrow = fitTable(head, rows, fit, 50);
    expect(narrow.head).toEqual(['RUN', 'NAME', 'STEP']);
    expect(narrow.rows[0]![1]).toBe('a name of the usual length'); // the removed columns leave room for the name
  });
});

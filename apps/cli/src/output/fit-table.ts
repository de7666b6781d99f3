// Fits a table into the terminal's width: long texts become shorter, then the least important columns are left out.
import { cutTo, widthOf, wrapTo } from './text-width.js';

/** How a column gives way: its text is cut or wrapped, or the column is left out. The column with the highest number is left out first. */
export type Fit = Record<string, 'cut' | 'wrap' | number>;

const GAP = 2;
/** The least width of a flexible column, as long as other columns can be left out for it. */
const FLEXIBLE_MIN = 14;
const FLEXIBLE_LAST_RESORT = 4;

export interface FittedTable {
  head: string[];
  rows: string[][];
  /** The indexes of the shown columns among all columns. */
  columns: number[];
}

interface Column {
  index: number;
  fit: Fit[string];
  /** The width of its widest cell, of its longest word, and that which it would have in a wide terminal. */
  cells: number;
  word: number;
  natural: number;
  titleWord: number;
  width: number;
}

const longestWord = (text: string) => Math.max(...text.split(' ').map(widthOf));

export function fitTable(head: string[], rows: string[][], fit: Fit, available: number): FittedTable {
  const all = head.map((title, index): Column => {
    const most = (size: (text: string) => number) => rows.reduce((so, row) => Math.max(so, size(row[index] ?? '')), 0);
    const cells = most(widthOf);
    const natural = Math.max(cells, widthOf(title));
    return { index, fit: fit[title] ?? 0, cells, word: most(longestWord), natural, titleWord: longestWord(title), width: 0 };
  });
  const rank = (column: Column) => (typeof column.fit === 'number' ? column.fit : 0);
  const least = (column: Column, min: number) => {
    // Text is wrapped between its words, and a word is broken only where it is long.
    const whole = column.fit === 'wrap' ? Math.min(column.word, FLEXIBLE_MIN) : 0;
    const own = typeof column.fit === 'string' ? Math.min(column.cells, Math.max(min, whole)) : column.cells;
    return Math.max(own, column.titleWord);
  };
  const total = (columns: Column[], min: number) => columns.reduce((sum, column) => sum + least(column, min) + GAP, -GAP);

  let columns = all.filter(({ cells }) => cells > 0);
  while (total(columns, FLEXIBLE_MIN) > available) {
    const most = Math.max(0, ...columns.map(rank));
    if (most === 0) break;
    columns = columns.filter((column) => rank(column) !== most);
  }
  const min = total(columns, FLEXIBLE_MIN) > available ? FLEXIBLE_LAST_RESORT : FLEXIBLE_MIN;
  for (const column of columns) column.width = least(column, min);
  widen(columns, available - total(columns, min));
  const fitted = (row: string[]) =>
    columns.map((column) => {
      const text = row[column.index] ?? '';
      if (widthOf(text) <= column.width) return text;
      return column.fit === 'cut' && row !== head ? cutTo(text, column.width) : wrapTo(text, column.width).join('\n');
    });
  return { head: fitted(head), rows: rows.map(fitted), columns: columns.map(({ index }) => index) };
}

/** Gives the remaining room to the columns that were made smaller, in turns. */
function widen(columns: Column[], spare: number): void {
  let left = spare;
  for (let grown = true; left > 0 && grown;) {
    grown = false;
    for (const column of columns) {
      if (left <= 0 || column.width >= column.natural) continue;
      column.width += 1;
      left -= 1;
      grown = true;
    }
  }
}

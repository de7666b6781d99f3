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

export function fitTable(head: string[], rows: string[][], fit: Fit, available: number): FittedTable {
  const cells = head.map((_, column) => rows.reduce((most, row) => Math.max(most, widthOf(row[column] ?? '')), 0));
  const natural = head.map((title, column) => Math.max(cells[column]!, widthOf(title)));
  const rank = (column: number) => (typeof fit[head[column]!] === 'number' ? (fit[head[column]!] as number) : 0);
  const longestWord = (text: string) => Math.max(...text.split(' ').map(widthOf));
  const words = head.map((_, column) => Math.max(0, ...rows.map((row) => longestWord(row[column] ?? ''))));
  const least = (column: number, min: number) => {
    // Text is wrapped between its words, and a word is broken only where it is long.
    const whole = fit[head[column]!] === 'wrap' ? Math.min(words[column]!, FLEXIBLE_MIN) : 0;
    const own = typeof fit[head[column]!] === 'string' ? Math.min(cells[column]!, Math.max(min, whole)) : cells[column]!;
    return Math.max(own, longestWord(head[column]!));
  };
  const total = (columns: number[], min: number) => columns.reduce((sum, column) => sum + least(column, min) + GAP, -GAP);

  let columns = head.map((_, column) => column).filter((column) => cells[column]! > 0);
  while (total(columns, FLEXIBLE_MIN) > available) {
    const most = Math.max(0, ...columns.map(rank));
    if (most === 0) break;
    columns = columns.filter((column) => rank(column) !== most);
  }
  const min = total(columns, FLEXIBLE_MIN) > available ? FLEXIBLE_LAST_RESORT : FLEXIBLE_MIN;
  const widths = new Map(columns.map((column) => [column, least(column, min)]));
  widen(widths, natural, available - total(columns, min));
  const fitted = (row: string[]) =>
    columns.map((column) => {
      const text = row[column] ?? '';
      const width = widths.get(column)!;
      if (widthOf(text) <= width) return text;
      return fit[head[column]!] === 'cut' && row !== head ? cutTo(text, width) : wrapTo(text, width).join('\n');
    });
  return { head: fitted(head), rows: rows.map(fitted), columns };
}

/** Gives the remaining room to the columns that were made smaller, in turns. */
function widen(widths: Map<number, number>, natural: number[], spare: number): void {
  let left = spare;
  for (let grown = true; left > 0 && grown;) {
    grown = false;
    for (const [column, width] of widths) {
      if (left <= 0 || width >= natural[column]!) continue;
      widths.set(column, width + 1);
      left -= 1;
      grown = true;
    }
  }
}

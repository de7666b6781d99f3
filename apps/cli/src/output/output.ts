// The output of a command: a table or sentences for people, and one JSON value (or one a line) for programs.
import Table from 'cli-table3';
import { visibleJson } from '#protocol';
import { fitTable, type Fit } from './fit-table.js';
import { toPlain } from './plain-json.js';
import { wrapWords } from './text-width.js';
import { describeTerminal, printable, styled, type Style, type Terminal } from './terminal.js';

export interface OutputOptions {
  json: boolean;
  colour: boolean;
}

export class Output {
  readonly json: boolean;
  readonly terminal: Terminal;

  constructor(
    options: OutputOptions,
    terminal: Terminal = describeTerminal(),
    private readonly stdout: NodeJS.WritableStream = process.stdout,
  ) {
    this.json = options.json;
    this.terminal = { ...terminal, colour: terminal.colour && options.colour, isLive: terminal.isLive && !options.json };
  }

  /** Writes the result: `value` with --json, or else what `print` writes. */
  result(value: unknown, print: () => void): void {
    if (this.json) this.stdout.write(`${visibleJson(JSON.stringify(toPlain(value), null, 2))}\n`);
    else print();
  }

  /** Writes one of many results, with --json as one line. */
  item(value: unknown, print: () => void): void {
    if (this.json) this.stdout.write(`${visibleJson(JSON.stringify(toPlain(value)))}\n`);
    else print();
  }

  line(text = ''): void {
    this.stdout.write(`${printable(text)}\n`);
  }

  /** Writes a part of a longer text. */
  piece(text: string): void {
    this.stdout.write(printable(text));
  }

  /** Writes a sentence, wrapped between words. */
  text(text: string): void {
    this.indented('', 0, text);
  }

  style(style: Style, text: string): string {
    return styled(this.terminal, style, text);
  }

  /** Writes a table, fitted to the terminal's width by `fit`. Empty columns are left out. */
  table(head: string[], rows: string[][], rightAligned: number[] = [], fit: Fit = {}): void {
    if (rows.length === 0) return;
    const shown = rows.map((row) => row.map(printable));
    const fitted = fitTable(head.map(printable), shown, fit, this.terminal.columns);
    const table = new Table({
      head: fitted.head.map((title) => printable(this.style('bold', title))),
      colAligns: fitted.columns.map((column) => (rightAligned.includes(column) ? 'right' : 'left')),
      chars: PLAIN_RULES,
      style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    });
    for (const row of fitted.rows) table.push(row);
    for (const line of table.toString().split('\n')) this.stdout.write(`${line.trimEnd()}\n`);
  }

  /** Writes names in one column and values in the next, wrapped between words. Pairs without a value are left out. */
  pairs(pairs: [string, string | undefined][]): void {
    const shown = pairs.filter((pair): pair is [string, string] => pair[1] !== undefined && pair[1] !== '');
    const width = Math.max(...shown.map(([name]) => name.length));
    for (const [name, value] of shown) {
      this.indented(`${this.style('dim', name.padEnd(width))}  `, width + 2, value);
    }
  }

  /** Writes text behind a lead of the given width. If it takes several lines, all begin at the same column. */
  indented(lead: string, width: number, text: string): void {
    const room = Math.max(this.terminal.columns - width, 20);
    this.stdout.write(`${printable(lead)}${wrapWords(printable(text), room).join(`\n${' '.repeat(width)}`)}\n`);
  }
}

// Columns without lines are quick to read, and easy to split with other tools.
const PLAIN_RULES = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '',
};

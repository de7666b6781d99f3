// The output of a command: a table or sentences for people, one JSON value (or one a line) for programs.
import Table from 'cli-table3';
import { visibleJson } from '#protocol';
import { fitTable, type Fit } from './fit-table.js';
import { toPlain } from './plain.js';
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

  /** The result: `value` with --json, else what `print` writes. */
  result(value: unknown, print: () => void): void {
    if (this.json) this.stdout.write(`${visibleJson(JSON.stringify(toPlain(value), null, 2))}\n`);
    else print();
  }

  /** One of many results: a line of JSON. */
  item(value: unknown, print: () => void): void {
    if (this.json) this.stdout.write(`${visibleJson(JSON.stringify(toPlain(value)))}\n`);
    else print();
  }

  line(text = ''): void {
    this.stdout.write(`${printable(text)}\n`);
  }

  /** Part of a text that goes on: as it is, unless a terminal would act upon it. */
  piece(text: string): void {
    this.stdout.write(this.terminal.isScreen ? printable(text) : text);
  }

  /** A sentence, wrapped between words. */
  text(text: string): void {
    this.indented('', 0, text);
  }

  style(style: Style, text: string): string {
    return styled(this.terminal, style, text);
  }

  /** Fitted to the terminal's width as `fit` says; columns that are empty are left out. */
  table(head: string[], rows: string[][], rightAligned: number[] = [], fit: Fit = {}): void {
    if (rows.length === 0) return;
    const shown = rows.map((row) => row.map(printable));
    const fitted = fitTable(head.map(printable), shown, fit, this.terminal.columns);
    const table = new Table({
      head: fitted.head.map((title) => this.style('bold', title)),
      colAligns: fitted.columns.map((column) => (rightAligned.includes(column) ? 'right' : 'left')),
      chars: PLAIN_RULES,
      style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    });
    for (const row of fitted.rows) table.push(row);
    for (const line of table.toString().split('\n')) this.line(line.trimEnd());
  }

  /** Names in one column, values in the next, wrapped between words; pairs without a value are left out. */
  pairs(pairs: [string, string | undefined][]): void {
    const shown = pairs.filter((pair): pair is [string, string] => pair[1] !== undefined && pair[1] !== '');
    const width = Math.max(...shown.map(([name]) => name.length));
    for (const [name, value] of shown) {
      this.indented(`${this.style('dim', name.padEnd(width))}  `, width + 2, value);
    }
  }

  /** Text behind a lead of that width; where it takes several lines, all begin at the same column. */
  indented(lead: string, width: number, text: string): void {
    const room = Math.max(this.terminal.columns - width, 20);
    this.line(`${lead}${wrapWords(printable(text), room).join(`\n${' '.repeat(width)}`)}`);
  }
}

// Columns without lines: quick to read, easy to cut apart with other tools.
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

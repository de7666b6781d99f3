// Where a command's result goes: a table or sentences for people, one JSON value (or one a line) for programs.
import Table from 'cli-table3';
import { toPlain } from './plain.js';
import { describeTerminal, styled, type Style, type Terminal } from './terminal.js';

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
    if (this.json) this.stdout.write(`${JSON.stringify(toPlain(value), null, 2)}\n`);
    else print();
  }

  /** One of many results: a line of JSON. */
  item(value: unknown, print: () => void): void {
    if (this.json) this.stdout.write(`${JSON.stringify(toPlain(value))}\n`);
    else print();
  }

  line(text = ''): void {
    this.stdout.write(`${text}\n`);
  }

  raw(text: string): void {
    this.stdout.write(text);
  }

  style(style: Style, text: string): string {
    return styled(this.terminal, style, text);
  }

  table(head: string[], rows: string[][], rightAligned: number[] = []): void {
    if (rows.length === 0) return;
    const table = new Table({
      head: head.map((title) => this.style('bold', title)),
      colAligns: head.map((_, column) => (rightAligned.includes(column) ? 'right' : 'left')),
      chars: PLAIN_RULES,
      style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    });
    for (const row of rows) table.push(row);
    for (const line of table.toString().split('\n')) this.line(line.trimEnd());
  }

  /** Names in one column, values in the next; pairs without a value are left out. */
  pairs(pairs: [string, string | undefined][]): void {
    const shown = pairs.filter((pair): pair is [string, string] => pair[1] !== undefined && pair[1] !== '');
    const width = Math.max(...shown.map(([name]) => name.length));
    for (const [name, value] of shown) this.line(`${this.style('dim', name.padEnd(width))}  ${value}`);
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

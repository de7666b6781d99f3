// One line of the terminal that is rewritten in place. All other output is printed above it. Off a terminal the line is printed on standard
// error now and then, so that a long command is not silent, also while nothing new comes.
import { printable, toStandardError, type Terminal } from '../output/terminal.js';
import { wrapLines } from '../output/text-width.js';

const REDRAW_MS = 80;
const PLAIN_LINE_MS = 10_000;
/** The same line is printed again after this time. */
const SAME_LINE_MS = 60_000;

export class LiveLine {
  private shown = '';
  private drawnAt = 0;
  private plainAt = Date.now();
  /** Off a terminal: the last line, whether printed or not. */
  private latest = '';
  private printed = '';
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly terminal: Terminal,
    private readonly stdout: NodeJS.WritableStream = process.stdout,
    private readonly stderr: NodeJS.WritableStream = process.stderr,
  ) {}

  update(line: string): void {
    if (!this.terminal.isLive) return this.plain(printable(line));
    if (Date.now() - this.drawnAt >= REDRAW_MS) this.draw(printable(line));
  }

  private plain(line: string): void {
    this.latest = line;
    this.timer ??= setInterval(() => this.sayWhereItIs(), PLAIN_LINE_MS).unref();
    this.sayWhereItIs();
  }

  private sayWhereItIs(): void {
    const silentMs = Date.now() - this.plainAt;
    if (silentMs < (this.latest === this.printed ? SAME_LINE_MS : PLAIN_LINE_MS)) return;
    this.plainAt = Date.now();
    this.printed = this.latest;
    this.note(this.latest);
  }

  private draw(line: string): void {
    this.stdout.write(`\r\u001b[2K${line}`);
    this.shown = line;
    this.drawnAt = Date.now();
  }

  /** Prints a line that stays. */
  print(text: string): void {
    const line = wrapLines(printable(text), this.terminal.columns);
    if (this.shown === '') {
      this.stdout.write(`${line}\n`);
      return;
    }
    this.stdout.write(`\r\u001b[2K${line}\n${this.shown}`);
  }

  /** Prints a line about the command itself, on standard error. */
  note(line: string): void {
    if (this.shown !== '') this.stdout.write('\r\u001b[2K');
    toStandardError(line, 0, this.stderr);
    if (this.shown !== '') this.stdout.write(this.shown);
  }

  /** Removes the live line, and prints a last line if one is given. */
  end(lastLine?: string): void {
    clearInterval(this.timer);
    this.timer = undefined;
    if (this.shown !== '') this.stdout.write('\r\u001b[2K');
    this.shown = '';
    if (lastLine !== undefined) this.print(lastLine);
  }
}

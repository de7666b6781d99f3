// One line of the terminal that is rewritten in place. All other output is printed above it.
import { printable, toStandardError, type Terminal } from '../output/terminal.js';
import { wrapLines } from '../output/text-width.js';

const REDRAW_MS = 80;

export class LiveLine {
  private shown = '';
  private drawnAt = 0;

  constructor(
    private readonly terminal: Terminal,
    private readonly stdout: NodeJS.WritableStream = process.stdout,
    private readonly stderr: NodeJS.WritableStream = process.stderr,
  ) {}

  update(line: string): void {
    if (!this.terminal.isLive || Date.now() - this.drawnAt < REDRAW_MS) return;
    this.draw(printable(line));
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
    if (this.shown !== '') this.stdout.write('\r\u001b[2K');
    this.shown = '';
    if (lastLine !== undefined) this.print(lastLine);
  }
}

import { bar, percent } from '../output/format.js';
import type { Output } from '../output/output.js';
import { cutTo } from '../output/text-width.js';
import { LiveLine } from './live-line.js';

/** Shows the progress of a longer call. Off a terminal it is told now and then, and the finished parts of a call (`part`). */
export class ShareLine {
  private readonly live: LiveLine;

  constructor(
    private readonly output: Output,
    private readonly what: string,
  ) {
    this.live = new LiveLine(output.terminal);
  }

  /** @param details the current work; it is cut to the remaining width */
  update(doneShare: number, waitingFor = '', details = ''): void {
    if (this.output.json) return;
    if (waitingFor !== '') return this.live.update(`${this.what}: waiting for ${waitingFor}`);
    const line = `${this.what}  ${bar(doneShare, 24, this.output.terminal.unicode)}  ${percent(doneShare, 0)}`;
    this.live.update(details === '' ? line : cutTo(`${line}  ${details}`, this.output.terminal.columns - 1));
  }

  /** Prints a line that stays, on a terminal or not. */
  print(line: string): void {
    if (!this.output.json) this.live.print(line);
  }

  /** Prints a line about the command itself, on standard error. */
  note(line: string): void {
    this.live.note(line);
  }

  /** Says on standard error that a part is done, where no live line shows the progress. */
  part(line: string): void {
    const { json, terminal } = this.output;
    if (!json && !terminal.isLive) this.live.note(line);
  }

  end(): void {
    this.live.end();
  }
}

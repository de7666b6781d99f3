import { bar, percent } from '../output/format.js';
import type { Output } from '../output/output.js';
import { LiveLine } from './live-line.js';

/** How far a longer call is, on a terminal only. */
export class ShareLine {
  private readonly live: LiveLine;

  constructor(
    private readonly output: Output,
    private readonly what: string,
  ) {
    this.live = new LiveLine(output.terminal);
  }

  update(doneShare: number, waitingFor = ''): void {
    if (waitingFor !== '') this.live.update(`${this.what}: waiting for ${waitingFor}`);
    else this.live.update(`${this.what}  ${bar(doneShare, 24, this.output.terminal.unicode)}  ${percent(doneShare, 0)}`);
  }

  /** A line that stays, in a terminal or not. */
  print(line: string): void {
    if (!this.output.json) this.live.print(line);
  }

  /** A line about the command itself, on standard error. */
  note(line: string): void {
    this.live.note(line);
  }

  end(): void {
    this.live.end();
  }
}

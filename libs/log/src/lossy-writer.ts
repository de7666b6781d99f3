// Writes log lines. A log must never end the process that writes it. On a full disk, or when the reader is gone, lines are dropped and
// counted; the number is logged as soon as there is room again.
import { writeSync } from 'node:fs';
import { visibleJson } from '#protocol';
import { cutLine } from './cut-line.js';

type WriteBytes = (bytes: Uint8Array) => number;

export class LossyWriter {
  private lost = 0;
  private reason = '';
  /** Only a part of the last line was written. */
  private torn = false;

  /** @param writeBytes returns the number of bytes that it wrote; may throw */
  constructor(private readonly writeBytes: WriteBytes) {}

  static to(fd: number): LossyWriter {
    return new LossyWriter((bytes) => writeSync(fd, bytes));
  }

  write(line: string): void {
    if ((this.lost > 0 && !this.writeLoss()) || !this.put(visibleJson(cutLine(line)))) this.lost += 1;
  }

  private writeLoss(): boolean {
    const { lost, reason } = this;
    const told = this.put(`${JSON.stringify({ level: 40, time: Date.now(), msg: `${lost} log lines were lost: ${reason}` })}\n`);
    if (told) this.lost = 0;
    return told;
  }

  private put(line: string): boolean {
    const bytes = Buffer.from(this.torn ? `\n${line}` : line);
    let done = 0;
    try {
      while (done < bytes.length) {
        const written = this.writeBytes(bytes.subarray(done));
        if (written === 0) throw new Error('nothing was written');
        done += written;
      }
      this.torn = false;
      return true;
    } catch (error) {
      if (done > 0) this.torn = done > 1 || !this.torn;
      this.reason = (error as Error).message;
      return false;
    }
  }
}

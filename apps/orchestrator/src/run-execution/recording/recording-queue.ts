// A queue of trained segments that wait to be recorded. Several short segments are recorded at once, since each recording (an append with
// its sync, the subscriptions, the views) takes time from the engine's steps.
import type { TrainedSegment } from './segment-recorder.js';

export class RecordingQueue {
  private waiting: TrainedSegment[] = [];
  private writing: Promise<void> | null = null;
  private timer: NodeJS.Timeout | undefined;
  private lastWriteAtMs = -Infinity;

  /** @param intervalMs the time between the starts of two writes, unless a caller waits for the record */
  constructor(
    private readonly write: (segments: TrainedSegment[]) => Promise<void>,
    private readonly intervalMs: number,
  ) {}

  /**
   * Adds a segment. It first waits for a write that is under way, so that only few segments are ever unrecorded. @throws the error of that
   * write
   */
  async add(segment: TrainedSegment): Promise<void> {
    await this.writing;
    this.waiting.push(segment);
    const waitMs = this.lastWriteAtMs + this.intervalMs - performance.now();
    if (waitMs <= 0) this.start();
    else this.timer ??= setTimeout(() => this.start(), waitMs); // a write under way ends before the next segment is added
  }

  /** Resolves when everything is recorded. @throws the error of a write; the segments after it are given up */
  async drain(): Promise<void> {
    await this.writing;
    if (this.waiting.length > 0) this.start();
    await this.writing;
  }

  private start(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.waiting.length === 0) return;
    const segments = this.waiting;
    this.waiting = [];
    this.lastWriteAtMs = performance.now();
    const writing = this.write(segments).then(() => {
      this.writing = null;
    });
    writing.catch(() => undefined); // the next caller gets the error; nothing can be recorded after it
    this.writing = writing;
  }
}

/** Joins the items of a callback into batches for a loop. A batch has all items since the loop's last turn. */
export class Batches<Item> implements AsyncIterable<Item[]> {
  private waiting: Item[] = [];
  private ended = false;
  private urgent = false;
  private wake: () => void = () => undefined;
  private wakeNow: () => void = () => undefined;
  private lastMs = performance.now();

  /** @param gatherMs the time from one batch to the next; an urgent item, or the end, sends a batch at once */
  constructor(private gatherMs = 0) {}

  /** Changes the time from one batch to the next. The items that wait are sent at once, so that they do not wait for the earlier time. */
  setGatherMs(gatherMs: number): void {
    this.gatherMs = gatherMs;
    if (this.waiting.length > 0) this.hurry();
  }

  push(items: readonly Item[], urgent = false): void {
    for (const item of items) this.waiting.push(item);
    this.wake();
    if (urgent) this.hurry();
  }

  end(): void {
    this.ended = true;
    this.wake();
    this.hurry();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item[]> {
    for (;;) {
      if (this.waiting.length > 0) {
        await this.gather();
        const batch = this.waiting;
        this.waiting = [];
        this.urgent = false;
        this.lastMs = performance.now();
        yield batch;
      } else if (this.ended) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
      }
    }
  }

  private hurry(): void {
    this.urgent = true;
    this.wakeNow();
  }

  private gather(): Promise<void> {
    const leftMs = this.lastMs + this.gatherMs - performance.now();
    if (this.urgent || this.ended || leftMs <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, leftMs);
      this.wakeNow = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

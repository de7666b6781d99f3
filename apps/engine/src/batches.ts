/** Joins what a callback brings to a loop that takes: everything that has come since the last turn, in one batch. */
export class Batches<Item> implements AsyncIterable<Item[]> {
  private waiting: Item[] = [];
  private ended = false;
  private wake: () => void = () => undefined;
  private wakeAtEnd: () => void = () => undefined;

  push(items: readonly Item[]): void {
    this.waiting.push(...items);
    this.wake();
  }

  /** Nothing comes after what is waiting. */
  get hasEnded(): boolean {
    return this.ended;
  }

  end(): void {
    this.ended = true;
    this.wake();
    this.wakeAtEnd();
  }

  /** Lets a batch grow: resolves after so long, or at the end. */
  gather(ms: number): Promise<void> {
    if (this.ended) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wakeAtEnd = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item[]> {
    for (;;) {
      if (this.waiting.length > 0) {
        const batch = this.waiting;
        this.waiting = [];
        yield batch;
      } else if (this.ended) {
        return;
      } else {
        await new Promise<void>((resolve) => { this.wake = resolve; });
      }
    }
  }
}

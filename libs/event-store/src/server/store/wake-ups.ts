/** Wakes readers that wait at the end of a stream, or at the end of all streams, when there are new events. */
export class WakeUps {
  private readonly ofAll = new Set<() => void>();
  private readonly ofStream = new Map<string, Set<() => void>>();

  /** @param stream undefined: listens to every stream; @returns a function that stops listening */
  listen(stream: string | undefined, wake: () => void): () => void {
    if (stream === undefined) {
      this.ofAll.add(wake);
      return () => this.ofAll.delete(wake);
    }
    const listeners = this.ofStream.get(stream) ?? new Set();
    this.ofStream.set(stream, listeners);
    listeners.add(wake);
    return () => {
      listeners.delete(wake);
      if (listeners.size === 0 && this.ofStream.get(stream) === listeners) this.ofStream.delete(stream);
    };
  }

  committed(streams: ReadonlySet<string>): void {
    for (const wake of [...this.ofAll]) wake();
    for (const stream of streams) for (const wake of [...(this.ofStream.get(stream) ?? [])]) wake();
  }
}

/** Remembers whether a reader was woken since it last looked, so that no wake-up is lost between looking and waiting. */
export class Waiter {
  private woken = false;
  private resume: (() => void) | undefined;

  readonly wake = (): void => {
    this.woken = true;
    this.resume?.();
    this.resume = undefined;
  };

  /** Must be called before looking for events. */
  reset(): void {
    this.woken = false;
  }

  async wait(): Promise<void> {
    if (this.woken) return;
    await new Promise<void>((resolve) => (this.resume = resolve));
  }
}

// Wakes callers that wait for a run to change. A wake-up carries no data, so nothing piles up behind a slow reader.
export class ViewChanges {
  private readonly waiting = new Map<string, Set<() => void>>();

  notify(runIds: Iterable<string>): void {
    for (const runId of runIds) {
      const wakes = this.waiting.get(runId);
      if (wakes === undefined) continue;
      this.waiting.delete(runId);
      for (const wake of wakes) wake();
    }
  }

  notifyAll(): void {
    this.notify([...this.waiting.keys()]);
  }

  /**
   * Resolves at the run's next change, after `atMostMs`, or when the signal aborts. Call it before you look at the run and await it
   * afterwards, so that you miss no change.
   */
  next(runId: string, atMostMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wakes = this.waiting.get(runId) ?? new Set();
      this.waiting.set(runId, wakes);
      const wake = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', wake);
        wakes.delete(wake);
        if (wakes.size === 0 && this.waiting.get(runId) === wakes) this.waiting.delete(runId);
        resolve();
      };
      const timer = setTimeout(wake, atMostMs);
      wakes.add(wake);
      signal?.addEventListener('abort', wake);
      if (signal?.aborted) wake();
    });
  }
}

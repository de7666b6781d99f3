// The place that a reader points at. All charts of a page share it, since they have the same points.

export class SharedCursor {
  private readonly listeners = new Set<(index: number | null) => void>();
  index: number | null = null;

  set(index: number | null): void {
    if (index === this.index) return;
    this.index = index;
    for (const listener of this.listeners) listener(index);
  }

  /** Returns a function that stops listening. */
  listen(listener: (index: number | null) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }
}

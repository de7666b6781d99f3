/**
 * How far a group has come without gaps. Messages are finished in any order; a restart must go on after the last one
 * before which everything is finished.
 */
export class Progress {
  /** In delivery order, which is rising. */
  private readonly open: { sequence: number; done: boolean }[] = [];
  private readonly bySequence = new Map<number, { sequence: number; done: boolean }>();
  private finished = 0;

  /** @param completed last sequence known to be finished; undefined when none */
  constructor(private completed: number | undefined) {}

  get lastCompleted(): number | undefined {
    return this.completed;
  }

  /** Messages finished since the last `takeFinished`. */
  get finishedCount(): number {
    return this.finished;
  }

  resetFinished(): void {
    this.finished = 0;
  }

  begin(sequence: number): void {
    const entry = { sequence, done: false };
    this.open.push(entry);
    this.bySequence.set(sequence, entry);
  }

  finish(sequence: number): void {
    const entry = this.bySequence.get(sequence);
    if (!entry) return;
    entry.done = true;
    this.finished += 1;
    this.advance();
  }

  /** Looked at and filtered out: nothing to finish, but a restart need not look again. */
  passOver(sequence: number): void {
    if (this.bySequence.has(sequence)) return;
    this.open.push({ sequence, done: true });
    this.advance();
  }

  private advance(): void {
    let count = 0;
    for (const entry of this.open) {
      if (!entry.done) break;
      this.completed = entry.sequence;
      this.bySequence.delete(entry.sequence);
      count += 1;
    }
    if (count > 0) this.open.splice(0, count);
  }
}

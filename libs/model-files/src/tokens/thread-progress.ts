// Reports the progress of an encoding thread in shared memory, because a thread that hangs in a pattern sends no messages.
export const IDLE = -1;
export const LOADING = -1;

export class EncodeProgress {
  private readonly cells: Int32Array;

  constructor(readonly shared = new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT)) {
    this.cells = new Int32Array(shared);
  }

  /**
   * @param batch the number of the batch, or IDLE @param document the index of the document in it, or LOADING while the tokenizer is loaded
   */
  at(batch: number, document: number): void {
    Atomics.store(this.cells, 1, document);
    Atomics.store(this.cells, 0, batch);
  }

  get now(): { batch: number; document: number } {
    return { batch: Atomics.load(this.cells, 0), document: Atomics.load(this.cells, 1) };
  }
}

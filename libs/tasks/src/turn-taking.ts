import { setImmediate } from 'node:timers/promises';

const BREATH_MS = 100;

/** Where a loop is long: lets its thread do other things now and then. */
export class Breath {
  private last = performance.now();

  async taken(): Promise<void> {
    if (performance.now() - this.last < BREATH_MS) return;
    await setImmediate();
    this.last = performance.now();
  }
}

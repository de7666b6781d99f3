import { setImmediate } from 'node:timers/promises';

const BREATH_MS = 100;

/** Pauses a long loop now and then, so that its thread can do other work. */
export class Breath {
  private last = performance.now();

  async taken(): Promise<void> {
    if (performance.now() - this.last < BREATH_MS) return;
    await setImmediate();
    this.last = performance.now();
  }
}

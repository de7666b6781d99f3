import { setImmediate } from 'node:timers/promises';

const WITHOUT_PAUSE_MS = 100;

/** Pauses a long loop now and then, so that its thread can do other work. */
export class LoopPauses {
  private last = performance.now();

  async ifDue(): Promise<void> {
    if (performance.now() - this.last < WITHOUT_PAUSE_MS) return;
    await setImmediate();
    this.last = performance.now();
  }
}

// Tells a process that hangs from one that works but is late. The kernel counts for each thread how long it ran and how long it waited for
// a processor.
import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessorUse {
  /** The sum over all threads since they began. */
  ranMs: number;
  /** The time in which the threads could have run, but others had the processors. */
  waitedMs: number;
}

/** Returns null where the use is not known. */
export function processorUseOf(pid: number): ProcessorUse | null {
  const use = { ranMs: 0, waitedMs: 0 };
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const [ran, waited] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ').map(Number);
      use.ranMs += (ran ?? 0) / 1e6;
      use.waitedMs += (waited ?? 0) / 1e6;
    }
    return use;
  } catch {
    return null; // the process has ended, or this kernel does not count
  }
}

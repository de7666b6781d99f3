// Decides when an event store that does not answer is ended and started again. A store that is only slow must not be ended: the next one
// would be as slow, and would have to start first.

/** The silence after which a store that does nothing is ended. It doubles after each end, until the store answers. */
const FIRST_SILENCE_MS = 6_000;
/** Also the silence after which a store is ended that works, but never answers. */
const LONGEST_SILENCE_MS = 300_000;
/** The least use of the processors between two looks that counts as work. */
const AT_WORK_MS = 20;
/** If this process's own timers are late by this much, it was stopped or starved, and the silence says nothing about the store. */
const OWN_DELAY_MS = 1_000;

export interface StoreSample {
  nowMs: number;
  /** The time in which the store's threads have run or waited for a processor, or null where it is not known. */
  workedMs: number | null;
  /** The time by which this process's own timers were late since the look before. */
  lateMs: number;
}

export class StorePatience {
  private silenceMs = FIRST_SILENCE_MS;
  /** The time since which the store has been silent, and the one since which it has done nothing; null: it answered. */
  private since: { silentMs: number; idleMs: number } | null = null;
  private workedMs: number | null = null;

  answered(): void {
    this.silenceMs = FIRST_SILENCE_MS;
    this.since = null;
  }

  /** Called when the store did not answer. Tells whether it is to be ended now. */
  isOver({ nowMs, workedMs, lateMs }: StoreSample): boolean {
    const didWork = workedMs !== null && this.workedMs !== null && workedMs - this.workedMs >= AT_WORK_MS;
    this.workedMs = workedMs;
    this.since ??= { silentMs: nowMs, idleMs: nowMs };
    if (lateMs >= OWN_DELAY_MS) this.since = { silentMs: nowMs, idleMs: nowMs };
    else if (didWork) this.since.idleMs = nowMs;
    return nowMs - this.since.idleMs >= this.silenceMs || nowMs - this.since.silentMs >= LONGEST_SILENCE_MS;
  }

  /** Called when the store was ended or has died, and starts again. */
  startsAgain(): void {
    if (this.since !== null) this.silenceMs = Math.min(2 * this.silenceMs, LONGEST_SILENCE_MS);
    this.since = null;
    this.workedMs = null;
  }
}

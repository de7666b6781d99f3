// Waits for an event store that does not answer, or that can't write at the moment.
import { setTimeout as sleep } from 'node:timers/promises';
import { EventStoreUnavailableError } from '#event-store';

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 5_000;
export const RETRY_FOR_MS = 10_000;

export interface RetryOptions {
  /** How many milliseconds to wait for an event store that does not answer; 10 s where absent. */
  retryForMs?: number;
  signal?: AbortSignal;
  /** Called before each wait, with the error that causes it. */
  onWait?: (error: Error) => void;
}

/** Tells whether the work settles within the time. */
export async function settlesWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  if (ms === Infinity) return work.then(() => true);
  const late = new AbortController();
  const timeout = sleep(ms, false, { signal: late.signal }).catch(() => false);
  const inTime = await Promise.race([work.then(() => true), timeout]);
  late.abort();
  return inTime;
}

/** Codes of errors that pass when a user frees disk space or starts the store again. */
const MENDABLE = new Set(['STORE_DISK_FULL', 'STORE_READ_ONLY', 'STORE_LOCKED', 'STORE_STOPPING', 'STORE_FAILED']);

/**
 * Repeats the work while the store does not answer. That is safe for appends, since their ids stay the same. With endless patience it also
 * waits for a store that can't write at the moment.
 */
export async function withRetries<T>(work: () => Promise<T>, { retryForMs = RETRY_FOR_MS, signal, onWait }: RetryOptions): Promise<T> {
  const until = Date.now() + retryForMs;
  for (let delayMs = FIRST_RETRY_MS; ; delayMs = Math.min(delayMs * 2, LONGEST_RETRY_MS)) {
    try {
      return await work();
    } catch (error) {
      const { code } = error as { code?: unknown };
      const passes = error instanceof EventStoreUnavailableError || (retryForMs === Infinity && MENDABLE.has(String(code)));
      if (!passes || Date.now() + delayMs > until) throw error;
      onWait?.(error as Error);
      await sleep(delayMs, undefined, signal ? { signal } : {}).catch(() => {
        throw error; // the caller has ended the wait
      });
    }
  }
}

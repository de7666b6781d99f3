// Adds up the engine time of each caller. It is a pure function of the attempts that it was told of, and of the time that a question names.
import type { AttemptRow } from '../views/run-views.js';

/** After this time, engine time counts half for the order of turns. */
export const HALF_LIFE_MS = 24 * 3_600_000;

interface CallerTime {
  /** The start of each attempt under way, by its key. */
  open: Map<string, number>;
  /** The ended attempts by their keys. */
  ended: Map<string, { startedMs: number; endedMs: number }>;
  /** The weighted time of the ended attempts as it was at `atMs`. */
  recentMs: number;
  atMs: number;
}

const decay = (ms: number): number => 2 ** (-Math.max(0, ms) / HALF_LIFE_MS);
/** The weighted time of a span at its end. */
const weighted = (ms: number): number => (HALF_LIFE_MS / Math.LN2) * (1 - decay(ms));

export class HoursLedger {
  private readonly callers = new Map<string, CallerTime>();

  /** @param keptMs the time for which an ended attempt is kept: the longest that `secondsSince` goes back */
  constructor(private readonly keptMs: number) {}

  /** Notes an attempt that has begun or ended. The same news again changes nothing. */
  note({ caller, runId, attempt, startedMs, endedMs }: AttemptRow): void {
    const time = this.callers.get(caller) ?? { open: new Map<string, number>(), ended: new Map(), recentMs: 0, atMs: 0 };
    this.callers.set(caller, time);
    const key = `${runId} ${attempt}`;
    if (time.ended.has(key)) return;
    if (endedMs === null) {
      time.open.set(key, startedMs);
      return;
    }
    time.open.delete(key);
    time.ended.set(key, { startedMs, endedMs });
    const atMs = Math.max(time.atMs, endedMs);
    time.recentMs = time.recentMs * decay(atMs - time.atMs) + weighted(endedMs - startedMs) * decay(atMs - endedMs);
    time.atMs = atMs;
  }

  /** The seconds of a caller, of which those of a day ago count half, those of two days ago a quarter, and so on. */
  recentSeconds(caller: string, nowMs: number): number {
    const time = this.callers.get(caller);
    if (time === undefined) return 0;
    let ms = time.recentMs * decay(nowMs - time.atMs);
    for (const startedMs of time.open.values()) ms += weighted(nowMs - startedMs);
    return ms / 1_000;
  }

  /** The seconds since `fromMs` in which a caller's attempts had an engine. */
  secondsSince(caller: string, fromMs: number, nowMs: number): number {
    const time = this.callers.get(caller);
    if (time === undefined) return 0;
    const since = (startedMs: number, endedMs: number): number => Math.max(0, endedMs - Math.max(startedMs, fromMs));
    let ms = 0;
    for (const [key, { startedMs, endedMs }] of time.ended) {
      if (endedMs <= nowMs - this.keptMs) time.ended.delete(key);
      else ms += since(startedMs, endedMs);
    }
    for (const startedMs of time.open.values()) ms += since(startedMs, nowMs);
    return ms / 1_000;
  }
}

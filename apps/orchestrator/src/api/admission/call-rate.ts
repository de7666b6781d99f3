// Limits the rate of calls of each person (calls_per_second in the file of --oidc). A pause is saved up, for a page that asks for several
// things at once.
import { EspalierError } from '#protocol';

const SAVED_SECONDS = 2;
/** The number of people that are remembered. People who have not called for the longest time are forgotten first. */
const PEOPLE_MAX = 10_000;

export class CallRate {
  private readonly people = new Map<string, { left: number; atMs: number }>();

  /** @param perSecond the limit, or null for none */
  constructor(private readonly perSecond: number | null) {}

  /** Counts a call. @throws EspalierError CALLS_TOO_FAST */
  count(actor: string, nowMs = performance.now()): void {
    const { perSecond } = this;
    if (perSecond === null) return;
    const most = SAVED_SECONDS * perSecond;
    const before = this.people.get(actor) ?? { left: most, atMs: nowMs };
    const left = Math.min(most, before.left + ((nowMs - before.atMs) / 1_000) * perSecond);
    this.people.delete(actor); // the latest caller comes last in the map
    this.people.set(actor, { left: left < 1 ? left : left - 1, atMs: nowMs });
    if (this.people.size > PEOPLE_MAX) this.people.delete(this.people.keys().next().value!);
    if (left < 1)
      throw new EspalierError('CALLS_TOO_FAST', `one person may make ${perSecond} calls a second here: wait a moment, and call less often`);
  }
}

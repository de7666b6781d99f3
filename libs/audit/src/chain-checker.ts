import { chainAfter } from './canonical-json.js';

/**
 * Follows the digest chain of one stream. It goes on from the recorded chain and from the one that the content gives, whichever the next
 * event follows: so one changed event is one problem, whether its content or its chain was changed.
 */
export class ChainChecker {
  /** Up to the last event that said one. */
  chain = '';
  /** The chains that the next event's may follow; empty after an event that says none, or that is missing. */
  private before: string[] = [''];

  /** An event is missing, or says no chain: the next one may follow any. */
  lose(): void {
    this.before = [];
  }

  /** The next event's problem; null: none. */
  problem(event: { id: string; type: string }, fields: Record<string, unknown>): string | null {
    const recorded = fields['chain'];
    const possible = this.before.map((before) => chainAfter(before, event, fields));
    const fits = possible.length === 0 ? typeof recorded === 'string' : possible.includes(String(recorded));
    this.chain = typeof recorded === 'string' ? recorded : (possible[0] ?? this.chain);
    this.before = fits ? [this.chain] : [...new Set([this.chain, ...possible])];
    return fits ? null : `${event.type}: its chain is ${String(recorded)}, its content gives ${possible[0] ?? 'another'}`;
  }
}

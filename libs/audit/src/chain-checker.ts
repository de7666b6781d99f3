import { chainAfter } from './canonical-json.js';

/**
 * Follows the digest chain of one stream. After a mismatch there are two candidates: the recorded chain, and the chain computed from the
 * content. The next event may follow either. So one changed event gives one problem, whether its content or its chain was changed.
 */
export class ChainChecker {
  /** The chain of the last event that has one. */
  chain = '';
  /** The chains that the next event may follow. It is empty after an event that is missing or has no chain. */
  private before: string[] = [''];

  /** Tells that an event is missing or has no chain. The next event may then follow any chain. */
  lose(): void {
    this.before = [];
  }

  /** Returns the problem of the next event; null: it has none. */
  problem(event: { id: string; type: string }, fields: Record<string, unknown>): string | null {
    const recorded = fields['chain'];
    const possible = this.before.map((before) => chainAfter(before, event, fields));
    const fits = possible.length === 0 ? typeof recorded === 'string' : possible.includes(String(recorded));
    this.chain = typeof recorded === 'string' ? recorded : (possible[0] ?? this.chain);
    this.before = fits ? [this.chain] : [...new Set([this.chain, ...possible])];
    return fits ? null : `${event.type}: its chain is ${String(recorded)}, its content gives ${possible[0] ?? 'another'}`;
  }
}

// Runs go on while they are verified. A state that the record needed when it was read may have been replaced and removed since. So an
// artifact that is missing is looked up again in the record as it is now.
import { readPastDamage, type EventStore } from '#event-store';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { runStream } from '../pruning-run/record/stored-event.js';

/** Folds the record of a run as it is now. */
export type ReadRun = (runId: string) => Promise<PruningRunState | null>;

export class RunsMeanwhile {
  private readonly known = new Map<string, { head: bigint | undefined; run: PruningRunState | null }>();

  constructor(
    private readonly store: Pick<EventStore, 'read'>,
    private readonly readRun: ReadRun,
  ) {}

  async now(runId: string): Promise<PruningRunState | null> {
    const head = await this.headOf(runStream(runId));
    const known = this.known.get(runId);
    if (known !== undefined && known.head === head) return known.run;
    const run = await this.readRun(runId);
    this.known.set(runId, { head, run });
    return run;
  }

  private async headOf(stream: string): Promise<bigint | undefined> {
    for await (const { revision } of readPastDamage(this.store, stream, { direction: 'backwards', maxCount: 1 })) return revision;
    return undefined;
  }
}

// Knows which artifacts recorded events need. It folds all events of all runs and uses no cache, because a deletion can't be undone. A long
// history takes a while to read, and until then every artifact counts as needed.
import type { Logger } from 'pino';
import type { EventCorruptError, EventStore, StoredEvent } from '#event-store';
import { AggregateFeed } from '../event-sourcing/aggregate-feed.js';
import { isFinished, neededArtifacts, needsTheSame, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { NewFact } from '../pruning-run/record/pruning-run.events.js';
import { pruningRun, type RunRepository } from '../pruning-run/run-repository.js';

const DIGEST_BYTES = 32;
const KEY_BYTES = 6;

export interface NeedsListener {
  /** Called with digests that the run's events no longer need. */
  dropped(digests: string[]): void;
  /** Called when an event can't be read or is missing. */
  damaged(error: EventCorruptError): void;
}

export class RecordedNeeds {
  private readonly feed: AggregateFeed<PruningRunState, NewFact>;
  /** The digests that ended runs need, as one buffer for each run. */
  private readonly ended = new Map<string, Buffer>();
  /**
   * The number of ended runs that need an artifact, by the beginning of its digest. Two artifacts with the same beginning keep each other,
   * which does no harm.
   */
  private readonly users = new Map<number, number>();
  private complete = false;
  /** The digests that events since the start dropped before the whole history was known. */
  private readonly droppedEarly: string[] = [];
  private readonly startedMs = Date.now();

  constructor(
    store: EventStore,
    runs: Pick<RunRepository, 'find'>,
    private readonly listener: NeedsListener,
    log: Logger,
  ) {
    this.feed = new AggregateFeed<PruningRunState, NewFact>(
      store,
      pruningRun,
      {
        isClosed: isFinished,
        find: (runId) => runs.find(runId),
        begin: () => Promise.resolve({ position: null, open: new Map() }),
        revisionBefore: () => -1,
        changed: (runId, before, after) => this.changed(runId, before, after),
        damaged: (_runId, error) => listener.damaged(error),
      },
      log,
    );
  }

  /**
   * Takes the events that the views read for the first time, so that they need not be read twice. They come from the store, not from the
   * views' file.
   */
  offer(item: StoredEvent | EventCorruptError): Promise<void> {
    return this.feed.offer(item);
  }

  /** Resolves when every event that was recorded so far is known. */
  async start(): Promise<void> {
    await this.feed.start();
    this.complete = true;
    this.listener.dropped(this.droppedEarly.splice(0));
  }

  /** Resolves when every event that was recorded so far is known. Unlike `start` it may be called again at any time. */
  async settle(): Promise<void> {
    await this.start();
    await this.feed.settle();
  }

  stop(): Promise<void> {
    return this.feed.stop();
  }

  get isComplete(): boolean {
    return this.complete;
  }

  seen(runId: string, revision: number): Promise<void> {
    return this.feed.seen(runId, revision);
  }

  isDamaged(runId: string): boolean {
    return this.feed.isDamaged(runId);
  }

  hasDamage(): boolean {
    return this.feed.hasDamage();
  }

  setAside(runId: string, error: EventCorruptError): void {
    this.feed.setAside(runId, error);
  }

  /** Tells whether events of any run but `besides` need the artifact. */
  isNeeded(digest: string, besides: string): boolean {
    if (!this.complete) return true;
    for (const run of this.feed.all()) if (run.runId !== besides && neededArtifacts(run).has(digest)) return true;
    const own = this.neededByEnded(besides).includes(digest) ? 1 : 0;
    return (this.users.get(keyOf(digest)) ?? 0) > own;
  }

  private changed(runId: string, before: PruningRunState | null, after: PruningRunState): void {
    if (before !== null && !isFinished(after) && needsTheSame(before, after)) return;
    const neededBefore = before === null ? this.neededByEnded(runId) : [...neededArtifacts(before).keys()];
    const needed = neededArtifacts(after);
    this.forgetEnded(runId);
    if (isFinished(after)) this.rememberEnded(runId, [...needed.keys()]);
    if (!this.complete && Date.parse(after.updatedAt) < this.startedMs) return;
    const dropped = neededBefore.filter((digest) => !needed.has(digest));
    if (this.complete) this.listener.dropped(dropped);
    else this.droppedEarly.push(...dropped);
  }

  private neededByEnded(runId: string): string[] {
    const packed = this.ended.get(runId);
    if (packed === undefined) return [];
    return Array.from({ length: packed.length / DIGEST_BYTES }, (_, index) =>
      packed.toString('hex', index * DIGEST_BYTES, (index + 1) * DIGEST_BYTES),
    );
  }

  private rememberEnded(runId: string, digests: string[]): void {
    this.ended.set(runId, Buffer.from(digests.join(''), 'hex'));
    for (const digest of digests) this.users.set(keyOf(digest), (this.users.get(keyOf(digest)) ?? 0) + 1);
  }

  private forgetEnded(runId: string): void {
    for (const digest of this.neededByEnded(runId)) {
      const left = this.users.get(keyOf(digest))! - 1;
      if (left > 0) this.users.set(keyOf(digest), left);
      else this.users.delete(keyOf(digest));
    }
    this.ended.delete(runId);
  }
}

function keyOf(digest: string): number {
  return Number.parseInt(digest.slice(0, 2 * KEY_BYTES), 16);
}

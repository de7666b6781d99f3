// The feed of runs. The driver finds its work here, also the work of a former process; the views tell where the feed starts. The keeper of
// artifacts learns here which artifacts are still needed, from the events alone.
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import type { EventCorruptError, EventStore, Position } from '#event-store';
import { EspalierError } from '#protocol';
import { AggregateFeed } from '../event-sourcing/aggregate-feed.js';
import { isFinished, neededArtifacts, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { NewFact } from '../pruning-run/record/pruning-run.events.js';
import { runIdOf } from '../pruning-run/record/stored-event.js';
import { pruningRun, RunRepository } from '../pruning-run/run-repository.js';
import { RecordedNeeds } from './recorded-needs.js';
import { RunViews } from '../views/run-views.js';
import { EVENT_STORE, LOGGER } from '../provider-names.js';

/** Called with the run after each event. */
type Listener = (run: PruningRunState) => void;

@Injectable()
export class RunFeed {
  private readonly feed: AggregateFeed<PruningRunState, NewFact>;
  private readonly needs: RecordedNeeds;
  private readonly listeners = new Set<Listener>();
  private reportDropped: (digests: string[]) => void = () => undefined;

  constructor(
    @Inject(EVENT_STORE) store: EventStore,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(LOGGER) private readonly log: Logger,
  ) {
    this.feed = new AggregateFeed<PruningRunState, NewFact>(
      store,
      pruningRun,
      {
        isClosed: isFinished,
        find: (runId) => runs.find(runId),
        begin: () => this.begin(),
        revisionBefore: (runId) => views.peek(runId)?.run.revision ?? -1,
        changed: (_runId, _before, after) => this.notify(after),
        damaged: () => undefined, // the views report the damage
      },
      log,
    );
    const listener = {
      dropped: (digests: string[]) => this.reportDropped(digests),
      damaged: (error: EventCorruptError) => this.noteDamage(error),
    };
    this.needs = new RecordedNeeds(store, runs, listener, log);
    views.onFirstReading((item) => this.needs.offer(item));
  }

  private async begin(): Promise<{ position: Position | null; open: Map<string, PruningRunState> }> {
    const { position, runs } = await this.views.unfinished();
    this.runs.onDamage = (error) => this.noteDamage(error);
    return { position, open: new Map(runs.map((run) => [run.runId, run])) };
  }

  /** Resolves when the unfinished runs are known as they were recorded so far. The needs of all runs are read meanwhile and afterwards. */
  async start(): Promise<void> {
    await this.feed.start();
    this.needs
      .start()
      .then(() => this.dropMarksOfDamage())
      .catch((error: unknown) => this.log.error({ err: error }, 'the views could not be compared with the events'));
  }

  /** Returns when everything that was recorded so far is known. The subscriptions alone may be a little behind. */
  async settle(): Promise<void> {
    await this.needs.settle();
    await this.feed.settle();
  }

  async stop(): Promise<void> {
    await Promise.all([this.feed.stop(), this.needs.stop()]);
  }

  /**
   * Marks the run as damaged everywhere: the views, the driver and the keeper of artifacts may have folded the event while it was whole.
   */
  private noteDamage(error: EventCorruptError): void {
    const runId = runIdOf(error);
    if (!this.feed.isDamaged(runId)) this.feed.setAside(runId, error);
    if (!this.needs.isDamaged(runId)) this.needs.setAside(runId, error);
    this.views.noteDamage(error);
  }

  /** Removes marks of damage that is gone. A mark outlives its damage where a backup has replaced the store. */
  private async dropMarksOfDamage(): Promise<void> {
    await this.views.ready();
    const whole = this.views.damagedRuns().filter((runId) => !this.isSetAside(runId));
    if (whole.length === 0) return;
    const what = `the views show run ${whole[0]} as damaged, but its events are whole: the views are being rebuilt; try again in a moment`;
    await this.views.startAnew(new EspalierError('VIEW_LAGGING', what));
  }

  private isSetAside(runId: string): boolean {
    return this.feed.isDamaged(runId) || this.needs.isDamaged(runId);
  }

  unfinished(): PruningRunState[] {
    return this.feed.all();
  }

  get(runId: string): PruningRunState | undefined {
    return this.feed.get(runId);
  }

  /** Tells whether an event of the run can't be read. */
  isDamaged(runId: string): boolean {
    return this.isSetAside(runId) || this.views.isDamaged(runId);
  }

  /** Tells whether events of any run can't be read. These events may name any artifact, so nothing may then be removed. */
  hasDamage(): boolean {
    return this.feed.hasDamage() || this.needs.hasDamage() || this.views.hasDamage();
  }

  /** Tells whether recorded events of any run but `besides` need the artifact. */
  isNeeded(digest: string, besides = ''): boolean {
    if (this.hasDamage()) return true;
    for (const run of this.feed.all()) if (run.runId !== besides && neededArtifacts(run).has(digest)) return true;
    return this.needs.isNeeded(digest, besides);
  }

  /** Resolves when the feed has come as far as this revision of the run. */
  async seen(runId: string, revision: number): Promise<void> {
    await this.feed.seen(runId, revision);
    if (this.needs.isComplete) await this.needs.seen(runId, revision);
  }

  /** The listener is called after each event. Call the result to remove it. */
  onChange(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** The listener is called with artifacts that a run no longer needs. Other runs may need them. */
  onDropped(listener: (digests: string[]) => void): void {
    this.reportDropped = listener;
  }

  private notify(run: PruningRunState): void {
    for (const listener of [...this.listeners]) listener(run);
  }
}

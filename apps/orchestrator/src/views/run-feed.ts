// The feed of runs. The driver finds its work here, also that of a former life, and the keeper of artifacts learns which states are
// still needed.
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import type { EventStore, Position } from '#event-store';
import { AggregateFeed } from '../event-sourcing/aggregate-feed.js';
import { isFinished, neededArtifacts, needsTheSame, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { NewFact } from '../pruning-run/record/pruning-run.events.js';
import { runIdOf } from '../pruning-run/record/stored-event.js';
import { pruningRun, RunRepository } from '../pruning-run/run-repository.js';
import { RunViews } from './run-views.js';
import { EVENT_STORE, LOGGER } from '../tokens.js';

/** Told the run after each event, and the artifacts that it no longer needs. */
type Listener = (run: PruningRunState, dropped: string[]) => void;

@Injectable()
export class RunFeed {
  private readonly feed: AggregateFeed<PruningRunState, NewFact>;
  /** Artifacts that are needed by runs which have ended since our start. The views know what other runs need. */
  private readonly endedNeeds = new Map<string, ReadonlySet<string>>();
  private readonly listeners = new Set<Listener>();

  constructor(
    @Inject(EVENT_STORE) store: EventStore,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(LOGGER) log: Logger,
  ) {
    this.feed = new AggregateFeed<PruningRunState, NewFact>(
      store,
      pruningRun,
      {
        isClosed: isFinished,
        find: (runId) => runs.find(runId),
        begin: () => this.begin(),
        revisionBefore: (runId) => views.peek(runId)?.run.revision ?? -1,
        changed: (runId, before, after) => this.changed(runId, before, after),
        damaged: (runId) => this.endedNeeds.delete(runId), // what it needs is kept: `hasDamage`
      },
      log,
    );
  }

  private async begin(): Promise<{ position: Position | null; open: Map<string, PruningRunState> }> {
    const { position, runs } = await this.views.unfinished();
    // The views hold what the store told when the event was whole.
    this.runs.onDamage = (error) => {
      this.feed.setAside(runIdOf(error));
      this.views.noteDamage(error);
    };
    return { position, open: new Map(runs.map((run) => [run.runId, run])) };
  }

  /** Resolves when everything recorded so far is known. */
  start(): Promise<void> {
    return this.feed.start();
  }

  /** Returns when everything is known that was recorded up to now; the subscription may be a little behind. */
  settle(): Promise<void> {
    return this.feed.settle();
  }

  stop(): Promise<void> {
    return this.feed.stop();
  }

  unfinished(): PruningRunState[] {
    return this.feed.all();
  }

  get(runId: string): PruningRunState | undefined {
    return this.feed.get(runId);
  }

  /** Whether an event of its record can't be read. */
  isDamaged(runId: string): boolean {
    return this.feed.isDamaged(runId) || this.views.isDamaged(runId);
  }

  /** While events of any run can't be read, they may name any artifact: nothing is thrown away. */
  hasDamage(): boolean {
    return this.feed.hasDamage() || this.views.hasDamage();
  }

  /** Whether recorded events of any run need the artifact; `besides`: of any other run than this one. */
  isNeeded(digest: string, besides = ''): boolean {
    if (this.hasDamage()) return true;
    for (const run of this.feed.all()) if (run.runId !== besides && neededArtifacts(run).has(digest)) return true;
    for (const [runId, needs] of this.endedNeeds) if (runId !== besides && needs.has(digest)) return true;
    return this.views
      .runsNeeding(digest)
      .some((runId) => runId !== besides && this.feed.get(runId) === undefined && !this.endedNeeds.has(runId));
  }

  /** Resolves when the feed has come as far as this revision of the run. */
  seen(runId: string, revision: number): Promise<void> {
    return this.feed.seen(runId, revision);
  }

  /** Called after each event; returns how to stop that. */
  onChange(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private changed(runId: string, before: PruningRunState | null, run: PruningRunState): void {
    if (before !== null && !isFinished(run) && needsTheSame(before, run)) return this.tell(run, []);
    const neededBefore = before === null ? (this.endedNeeds.get(runId) ?? this.views.neededBy(runId)) : neededArtifacts(before).keys();
    const needs = new Set(neededArtifacts(run).keys());
    if (isFinished(run)) this.endedNeeds.set(runId, needs);
    else this.endedNeeds.delete(runId);
    this.tell(
      run,
      [...neededBefore].filter((digest) => !needs.has(digest)),
    );
  }

  private tell(run: PruningRunState, dropped: string[]): void {
    for (const listener of [...this.listeners]) listener(run, dropped);
  }
}

// All runs as the event store tells them: what the views know of the runs that have not ended, then one subscription from
// there on, folded. (Where the views are empty, that is from the first event on.) The driver finds its work here, also that of
// a former life, and the keeper of artifacts learns which states are still needed.
import { Inject, Injectable } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { EventCorruptError, EventStoreError, type EventStore, type Position, type StoredEvent, type Subscription } from '#event-store';
import { evolve, isFinished, neededArtifacts, needsTheSame, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { ownEvents } from '../pruning-run/record/own-events.js';
import { decodeStored, RUN_STREAM_PREFIX, runIdOf } from '../pruning-run/record/stored-event.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { RunViews } from './run-views.js';
import { EVENT_STORE, LOGGER } from '../tokens.js';

const FIRST_RETRY_MS = 200;
const LONGEST_RETRY_MS = 5_000;

/** Told the run after each event, and the artifacts that it no longer needs. */
type Listener = (run: PruningRunState, dropped: string[]) => void;

@Injectable()
export class RunFeed {
  /** Runs that have not ended. */
  private readonly open = new Map<string, PruningRunState>();
  /** The artifacts that runs need which ended since our start, and their streams' revisions. The views know those of other runs. */
  private readonly closed = new Map<string, { needs: ReadonlySet<string>; revision: number }>();
  private readonly damaged = new Set<string>();
  private readonly listeners = new Set<Listener>();
  private subscription: Subscription | null = null;
  private started = false;
  private stopped = false;
  /** The position of the last event taken. */
  private position: Position | null = null;
  private ready: Promise<void> = Promise.resolve();

  constructor(
    @Inject(EVENT_STORE) private readonly store: EventStore,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  /** Resolves when everything recorded so far is known. */
  async start(): Promise<void> {
    if (!this.started) {
      this.started = true;
      const { position, runs } = await this.views.unfinished();
      this.position = position;
      for (const run of runs) this.open.set(run.runId, run);
      // The views hold what the store told when the event was whole.
      this.runs.onDamage = (error) => {
        this.setAside(runIdOf(error));
        this.views.noteDamage(error);
      };
      this.ready = new Promise((resolve) => void this.follow(resolve));
    }
    await this.ready;
  }

  /** Returns when everything is known that was recorded up to now; the subscription may be a little behind. */
  async settle(): Promise<void> {
    try {
      const after = this.position === null ? {} : { after: this.position };
      for await (const event of this.store.readAll({ ...after, streamPrefixes: [RUN_STREAM_PREFIX] })) await this.take(event);
    } catch (error) {
      if (!(error instanceof EventCorruptError)) throw error;
      this.setAside(runIdOf(error));
    }
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.subscription?.close();
  }

  unfinished(): PruningRunState[] {
    return [...this.open.values()];
  }

  get(runId: string): PruningRunState | undefined {
    return this.open.get(runId);
  }

  /** Whether an event of its record can't be read. */
  isDamaged(runId: string): boolean {
    return this.damaged.has(runId) || this.views.isDamaged(runId);
  }

  /** While events of any run can't be read, they may name any artifact: nothing is thrown away. */
  hasDamage(): boolean {
    return this.damaged.size > 0 || this.views.hasDamage();
  }

  /** Whether recorded events of any run need the artifact; `besides`: of any other run than this one. */
  isNeeded(digest: string, besides = ''): boolean {
    if (this.hasDamage()) return true;
    for (const run of this.open.values()) if (run.runId !== besides && neededArtifacts(run).has(digest)) return true;
    for (const [runId, { needs }] of this.closed) if (runId !== besides && needs.has(digest)) return true;
    return this.views.runsNeeding(digest).some((runId) => runId !== besides && !this.open.has(runId) && !this.closed.has(runId));
  }

  /** Resolves when the feed has come as far as this revision of the run. */
  seen(runId: string, revision: number): Promise<void> {
    return new Promise((resolve) => {
      if ((this.open.get(runId) ?? this.closed.get(runId) ?? this.views.peek(runId)?.run ?? { revision: -1 }).revision >= revision)
        return resolve();
      const stop = this.onChange((run) => {
        if (run.runId !== runId || run.revision < revision) return;
        stop();
        resolve();
      });
    });
  }

  /** Called after each event; returns how to stop that. */
  onChange(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** As long as we live: after any error from where it was. */
  private async follow(caughtUp: () => void): Promise<void> {
    for (let retryMs = FIRST_RETRY_MS; !this.stopped; retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS)) {
      try {
        this.subscription = this.store.subscribeAll({ after: this.position ?? 'start', streamPrefixes: [RUN_STREAM_PREFIX] });
        for await (const item of this.subscription) {
          if (item.kind === 'caughtUp') caughtUp();
          if (item.kind === 'damaged') this.setAside(runIdOf(item.error)); // the views tell of it
          if (item.kind === 'event') await this.takeOrPassOver(item.event);
          retryMs = FIRST_RETRY_MS;
        }
      } catch (error) {
        this.log.error({ err: error }, 'the runs could not be read on; trying again');
      }
      await this.subscription?.close().catch(() => undefined);
      if (!this.stopped) await sleep(retryMs, undefined, { ref: false });
    }
  }

  /** @throws what passes */
  private async takeOrPassOver(event: StoredEvent): Promise<void> {
    try {
      await this.take(event);
    } catch (error) {
      if (passes(error)) throw error;
      // One unreadable event must not hold up the other runs; verification names it.
      this.log.error({ err: error, stream: event.stream, revision: Number(event.revision) }, 'an event could not be read');
    }
    this.position = event.position;
  }

  private async take(stored: StoredEvent): Promise<void> {
    const runId = runIdOf(stored);
    const revision = Number(stored.revision);
    if (this.damaged.has(runId)) return;
    const closed = this.closed.get(runId);
    const known = this.open.get(runId) ?? null;
    if (revision <= (closed ?? known ?? { revision: -1 }).revision) return;
    if (known !== null && revision > known.revision + 1) {
      this.setAside(runId);
      return;
    } // an event is missing
    // An ended run speaks again (evaluated, rewound, resumed): it is read anew.
    const goesOn = closed === undefined && (known !== null || revision === 0);
    const run = goesOn ? evolve(known, ownEvents.find(stored) ?? decodeStored(stored)) : await this.runs.find(runId);
    if (run === null) return;
    if (known !== null && !isFinished(run) && needsTheSame(known, run)) {
      this.open.set(runId, run);
      this.tell(run, []);
      return;
    }
    const neededBefore = closed?.needs ?? (known === null ? this.views.neededBy(runId) : neededArtifacts(known).keys());
    const needs = new Set(neededArtifacts(run).keys());
    if (isFinished(run)) {
      this.open.delete(runId);
      this.closed.set(runId, { needs, revision: run.revision });
    } else {
      this.closed.delete(runId);
      this.open.set(runId, run);
    }
    this.tell(
      run,
      [...neededBefore].filter((digest) => !needs.has(digest)),
    );
  }

  /** Nothing more is done for a run whose record is damaged; what it needs is kept. */
  private setAside(runId: string): void {
    this.damaged.add(runId);
    this.open.delete(runId);
    this.closed.delete(runId);
  }

  private tell(run: PruningRunState, dropped: string[]): void {
    for (const listener of [...this.listeners]) listener(run, dropped);
  }
}

/** A store or a disk is away; what an event holds does not change. */
function passes(error: unknown): boolean {
  if (error instanceof EventStoreError) return !(error instanceof EventCorruptError);
  return String((error as { code?: unknown }).code).startsWith('SQLITE_');
}

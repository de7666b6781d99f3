// The only writer of runs. It uses the repository that all aggregates share.
import { Inject, Injectable } from '@nestjs/common';
import type { EventCorruptError, EventStore } from '#event-store';
import {
  AggregateRepository,
  expectedState,
  type Aggregate,
  type ChangeOptions,
  type KeyedChange,
} from '../event-sourcing/aggregate-repository.js';
import { Tallies } from '../monitoring/tallies.js';
import { EVENT_STORE } from '../provider-names.js';
import { eventTypes } from './record/event-versions.js';
import { ownEvents } from './record/own-events.js';
import type { NewFact } from './record/pruning-run.events.js';
import { runDamaged, runNotFound } from './aggregate/pruning-run.errors.js';
import { decide, evolve, type PruningRunState } from './aggregate/pruning-run.js';
import type { RunChange } from './aggregate/pruning-run.decisions.js';
import { decodeStored, RUN_STREAM_PREFIX } from './record/stored-event.js';

export const pruningRun: Aggregate<PruningRunState, RunChange, NewFact> = {
  name: 'run',
  types: eventTypes,
  streamPrefix: RUN_STREAM_PREFIX,
  decode: (stored) => ownEvents.find(stored) ?? decodeStored(stored),
  evolve,
  decide,
  notFound: runNotFound,
  damaged: runDamaged,
  onAppend: (sent, event) => ownEvents.remember(sent, event),
};

@Injectable()
export class RunRepository {
  private readonly runs: AggregateRepository<PruningRunState, RunChange, NewFact>;

  constructor(
    @Inject(EVENT_STORE) store: EventStore,
    @Inject(Tallies) private readonly tallies: Pick<Tallies, 'countOutcomes'>,
  ) {
    this.runs = new AggregateRepository(store, pruningRun);
  }

  /** The listener hears of each event that can't be read. */
  set onDamage(listener: (error: EventCorruptError) => void) {
    this.runs.onDamage = listener;
  }

  /** Returns the run as the store has it now, or null where it has no such run. @throws EspalierError RUN_DAMAGED */
  find(runId: string): Promise<PruningRunState | null> {
    return this.runs.find(runId);
  }

  load(runId: string): Promise<PruningRunState> {
    return this.runs.load(runId);
  }

  /**
   * @throws EspalierError when the run refuses the change; EventStoreUnavailableError when the store stays away, and the outcome is unknown
   */
  async change(
    runId: string,
    change: RunChange,
    options: ChangeOptions & { key?: string },
  ): Promise<{ run: PruningRunState; facts: NewFact[] }> {
    const { state: run, facts } = await this.runs.change(runId, change, options);
    this.tallies.countOutcomes(facts);
    return { run, facts };
  }

  /** Makes several changes, each decided on the result of the one before. Either all are stored or none. */
  async changeInTurn(
    runId: string,
    changes: KeyedChange<RunChange>[],
    options: ChangeOptions,
  ): Promise<{ run: PruningRunState; facts: NewFact[] }> {
    const { state: run, facts } = await this.runs.changeInTurn(runId, changes, options);
    this.tallies.countOutcomes(facts);
    return { run, facts };
  }
}

/** The run as it will be with these facts, except for its digest chain. */
export const expected = (before: PruningRunState | null, facts: NewFact[]): PruningRunState | null =>
  expectedState(pruningRun, before, facts);

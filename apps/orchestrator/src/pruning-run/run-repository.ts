// The only writer of runs: load, decide, append with the expected revision.
import { Inject, Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  EventCorruptError,
  EventStoreUnavailableError,
  WrongExpectedRevisionError,
  type EventStore,
  type ExpectedRevision,
  type NewEvent,
} from '#event-store';
import { EspalierError } from '#protocol';
import { EVENT_STORE } from '../tokens.js';
import { eventId } from '../event-sourcing/event-ids.js';
import type { CallContext } from './record/call-context.js';
import { CURRENT_VERSION } from './record/event-versions.js';
import { ownEvents } from './record/own-events.js';
import type { NewFact } from './record/pruning-run.events.js';
import { runDamaged, runNotFound } from './aggregate/pruning-run.errors.js';
import { decide, evolve, type PruningRunState } from './aggregate/pruning-run.js';
import type { RunChange } from './aggregate/run-change.js';
import { CHAIN_START, decodeStored, encodeFacts, runStream } from './record/stored-event.js';

const CACHED_RUNS = 64;
const CONFLICTS_MAX = 20;
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 5_000;
const PATIENCE_MS = 10_000;

export interface Patience {
  /** How long an event store that does not answer is waited for; default 10 s. */
  patienceMs?: number;
  signal?: AbortSignal;
  /** Told before each wait. */
  onWait?: (error: Error) => void;
}

export interface ChangeOptions extends Patience {
  /** Who asks for the change: recorded with each of its facts. */
  by: CallContext;
}

export interface KeyedChange {
  /** Names the change: the same key gives the same event ids. */
  key: string;
  change: RunChange;
}

/** Facts to append, each with its id. */
interface Decided {
  facts: NewFact[];
  ids: string[];
}

@Injectable()
export class RunRepository {
  private readonly cache = new Map<string, PruningRunState>();
  private readonly turns = new Map<string, Promise<unknown>>();
  /** The reason why the change under way waits, by run. */
  private readonly heldUp = new Map<string, Error>();
  /** Told of an event that can't be read. */
  onDamage: (error: EventCorruptError) => void = () => undefined;

  constructor(@Inject(EVENT_STORE) private readonly store: EventStore) {}

  /** The run as the store has it now. @throws EspalierError RUN_DAMAGED */
  async find(runId: string): Promise<PruningRunState | null> {
    let state = this.cache.get(runId) ?? null;
    const from = state === null ? 'start' : BigInt(state.revision) + 1n;
    try {
      let next = from === 'start' ? 0n : from;
      for await (const stored of this.store.read(runStream(runId), { from })) {
        if (stored.revision > next) throw new EventCorruptError(stored.stream, next, stored.position, `event ${next} is missing`);
        next = stored.revision + 1n;
        if (state === null || stored.revision > BigInt(state.revision)) state = evolve(state, decodeStored(stored));
      }
    } catch (error) {
      if (!(error instanceof EventCorruptError)) throw error;
      this.onDamage(error);
      throw runDamaged(runId, [error.message]);
    }
    if (state !== null) this.remember(state);
    return state;
  }

  async load(runId: string): Promise<PruningRunState> {
    const state = await this.find(runId);
    if (state === null) throw runNotFound(runId);
    return state;
  }

  /**
   * Adds the facts of a change and returns the run as it then is. Another writer in between makes it decide again.
   * @throws EspalierError when the run refuses; EventStoreUnavailableError when the store stays away (outcome unknown)
   */
  change(runId: string, change: RunChange, options: ChangeOptions & { key?: string }): Promise<{ run: PruningRunState; facts: NewFact[] }> {
    return this.changeInTurn(runId, [{ key: options.key ?? randomUUID(), change }], options);
  }

  /** Several changes, each of what the ones before made of the run; all of them or none. */
  async changeInTurn(runId: string, changes: KeyedChange[], options: ChangeOptions): Promise<{ run: PruningRunState; facts: NewFact[] }> {
    return this.inTurn(runId, options, async (options) => {
      // The state that this process wrote last is nearly always the newest; the expected revision finds out when it is not.
      let state = this.cache.get(runId) ?? null;
      let fresh = state === null;
      if (fresh) state = await patiently(() => this.find(runId), options);
      for (let conflict = 0; conflict < CONFLICTS_MAX; conflict += 1) {
        const decided = this.tryDecide(runId, state, changes, options.by);
        if (!(decided instanceof Error) && decided.facts.length > 0) {
          const run = await this.tryAppend(runId, state, decided, options);
          if (run !== null) return { run, facts: decided.facts };
        } else if (fresh) {
          if (decided instanceof Error) throw decided;
          return { run: state!, facts: [] };
        }
        state = await patiently(() => this.find(runId), options);
        fresh = true;
      }
      throw new EspalierError('CONFLICTING_CHANGES', `run ${runId} is being changed by others at the same time: try again`);
    });
  }

  private tryDecide(runId: string, before: PruningRunState | null, changes: KeyedChange[], by: CallContext): Decided | Error {
    const at = new Date().toISOString();
    const decided: Decided = { facts: [], ids: [] };
    let state = before;
    try {
      for (const { key, change } of changes) {
        const facts = decide(state, change, at).map((fact) => ({ ...fact, context: by }));
        decided.facts.push(...facts);
        decided.ids.push(...facts.map(({ type }, index) => eventId(runId, key, index, type)));
        if (changes.length > 1) state = expected(state, facts);
      }
      return decided;
    } catch (error) {
      return error as Error;
    }
  }

  /** null: another writer was quicker. */
  private async tryAppend(
    runId: string,
    state: PruningRunState | null,
    { facts, ids }: Decided,
    options: ChangeOptions,
  ): Promise<PruningRunState | null> {
    const { stored, events } = encodeFacts(facts, state?.chain ?? CHAIN_START, (index) => ids[index]!);
    stored.forEach((one, index) => ownEvents.remember(one, events[index]!));
    try {
      await patiently(() => this.append(runId, stored, state), options);
    } catch (error) {
      if (error instanceof WrongExpectedRevisionError) return null;
      throw error;
    }
    const run = events.reduce<PruningRunState | null>(evolve, state)!;
    this.remember(run);
    return run;
  }

  private append(runId: string, events: NewEvent[], state: PruningRunState | null): Promise<unknown> {
    const expected: ExpectedRevision = state === null ? 'no_stream' : BigInt(state.revision);
    return this.store.append(runStream(runId), events, expected);
  }

  /** Changes of one run one after the other: they would only conflict. */
  private async inTurn<T>(runId: string, options: ChangeOptions, work: (options: ChangeOptions) => Promise<T>): Promise<T> {
    const { patienceMs = PATIENCE_MS, onWait } = options;
    const holdUp = this.heldUp.get(runId);
    if (holdUp !== undefined && patienceMs !== Infinity && !(holdUp instanceof EventStoreUnavailableError)) throw holdUp;
    const noting = {
      ...options,
      onWait: (error: Error): void => {
        this.heldUp.set(runId, error);
        onWait?.(error);
      },
    };
    const before = this.turns.get(runId) ?? Promise.resolve();
    let givenUp = false;
    const mine = before.then(async () => {
      if (givenUp) throw this.tooLong(runId);
      try {
        return await work(noting);
      } finally {
        this.heldUp.delete(runId);
      }
    });
    const settled = mine.catch(() => undefined);
    this.turns.set(runId, settled);
    try {
      // The change before this one in the queue may wait for long.
      givenUp = !(await within(before, patienceMs));
      if (givenUp) throw this.tooLong(runId);
      return await mine;
    } finally {
      if (this.turns.get(runId) === settled) void settled.then(() => this.turns.get(runId) === settled && this.turns.delete(runId));
    }
  }

  private tooLong(runId: string): Error {
    return this.heldUp.get(runId) ?? new EventStoreUnavailableError(`run ${runId} is being changed, and the event store does not answer`);
  }

  private remember(state: PruningRunState): void {
    this.cache.delete(state.runId);
    this.cache.set(state.runId, state);
    const [oldest] = this.cache.keys();
    if (this.cache.size > CACHED_RUNS && oldest !== undefined) this.cache.delete(oldest);
  }
}

/** The run as it will be with these facts, but for its digest chain. */
export function expected(before: PruningRunState | null, facts: NewFact[]): PruningRunState | null {
  return facts.reduce<PruningRunState | null>((state, fact) => evolve(state, { ...fact, v: CURRENT_VERSION, chain: '' }), before);
}

/** Whether the work settles in time. */
async function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  if (ms === Infinity) return work.then(() => true);
  const late = new AbortController();
  const timeout = sleep(ms, false, { signal: late.signal }).catch(() => false);
  const inTime = await Promise.race([work.then(() => true), timeout]);
  late.abort();
  return inTime;
}

/** Errors that pass when somebody frees disk space, or starts the store again. */
const MENDABLE = new Set(['STORE_DISK_FULL', 'STORE_READ_ONLY', 'STORE_LOCKED', 'STORE_STOPPING', 'STORE_FAILED']);

/**
 * Repeats while the store does not answer; safe for appends since their ids stay the same. Endless patience also waits for
 * a store that can't write at the moment.
 */
export async function patiently<T>(work: () => Promise<T>, { patienceMs = PATIENCE_MS, signal, onWait }: Patience): Promise<T> {
  const until = Date.now() + patienceMs;
  for (let delayMs = FIRST_RETRY_MS; ; delayMs = Math.min(delayMs * 2, LONGEST_RETRY_MS)) {
    try {
      return await work();
    } catch (error) {
      const { code } = error as { code?: unknown };
      const passes = error instanceof EventStoreUnavailableError || (patienceMs === Infinity && MENDABLE.has(String(code)));
      if (!passes || Date.now() + delayMs > until) throw error;
      onWait?.(error as Error);
      await sleep(delayMs, undefined, signal ? { signal } : {}).catch(() => {
        throw error; // told to wait no longer
      });
    }
  }
}

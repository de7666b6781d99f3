import { randomUUID } from 'node:crypto';
import {
  EventCorruptError,
  EventStoreUnavailableError,
  WrongExpectedRevisionError,
  type EventStore,
  type ExpectedRevision,
  type NewEvent,
  type StoredEvent,
} from '#event-store';
import { EspalierError } from '#protocol';
import type { CallContext } from './call-context.js';
import { CHAIN_START, encodeFacts, type Envelope, type Fact, type UnknownEvent } from './event-codec.js';
import { eventId } from './event-ids.js';
import type { EventTypes } from './event-types.js';
import { NotBegun } from './not-begun-error.js';
import { withRetries, RETRY_FOR_MS, settlesWithin, type RetryOptions } from './store-retries.js';

const CACHED = 64;
const CONFLICTS_MAX = 20;

export interface AggregateState {
  /** The revision of the last event that was folded. */
  revision: number;
  chain: string;
}

/** The definition of one kind of aggregate. Its functions are pure, except that `onAppend` remembers events. */
export interface Aggregate<State extends AggregateState, Change, F extends Fact> {
  /** The word that messages to users have for the aggregate, such as "run". */
  name: string;
  types: EventTypes;
  /** The beginning of a stream's name; the aggregate's id follows. */
  streamPrefix: string;
  decode(stored: StoredEvent): (F & Envelope) | UnknownEvent;
  evolve(state: State | null, event: (F & Envelope) | UnknownEvent): State | null;
  /**
   * @throws EspalierError when the state does not allow the change; NotBegun when the aggregate does not exist and the change does not
   * begin it
   */
  decide(state: State | null, change: Change, at: string): F[];
  notFound(id: string): Error;
  damaged(id: string, problems: string[]): Error;
  /** Called for each event before it is appended. */
  onAppend?(sent: NewEvent, event: F & Envelope): void;
}

export interface ChangeOptions extends RetryOptions {
  /** The caller of the change, recorded with each of its facts. */
  by: CallContext;
}

export interface KeyedChange<Change> {
  /** Names the change. The same key gives the same event ids, so a repeated change is stored once. */
  key: string;
  change: Change;
}

/** Facts to append, each with its id. */
interface Decision<F> {
  facts: F[];
  ids: string[];
}

/**
 * The only writer of the streams of one kind of aggregate. It loads the state, decides the change, and appends with the expected revision.
 * Another kind of aggregate is another definition of the same class.
 */
export class AggregateRepository<State extends AggregateState, Change, F extends Fact> {
  private readonly cache = new Map<string, State>();
  private readonly turns = new Map<string, Promise<unknown>>();
  /** The reason why the change under way waits, by the aggregate's id. */
  private readonly heldUp = new Map<string, Error>();
  /** Called with each event that can't be read. */
  onDamage: (error: EventCorruptError) => void = () => undefined;

  constructor(
    private readonly store: EventStore,
    private readonly aggregate: Aggregate<State, Change, F>,
  ) {}

  /** Returns the aggregate as the store has it now, or null where it does not exist. @throws the aggregate's error `damaged` */
  async find(id: string): Promise<State | null> {
    let state = this.cache.get(id) ?? null;
    const from = state === null ? 'start' : BigInt(state.revision) + 1n;
    try {
      let next = from === 'start' ? 0n : from;
      for await (const stored of this.store.read(this.aggregate.streamPrefix + id, { from })) {
        if (stored.revision > next) throw new EventCorruptError(stored.stream, next, stored.position, `event ${next} is missing`);
        next = stored.revision + 1n;
        if (state === null || stored.revision > BigInt(state.revision)) state = this.aggregate.evolve(state, this.aggregate.decode(stored));
      }
    } catch (error) {
      if (!(error instanceof EventCorruptError)) throw error;
      this.onDamage(error);
      throw this.aggregate.damaged(id, [error.message]);
    }
    if (state !== null) this.remember(id, state);
    return state;
  }

  async load(id: string): Promise<State> {
    const state = await this.find(id);
    if (state === null) throw this.aggregate.notFound(id);
    return state;
  }

  /**
   * Adds the facts of a change and returns the state with them. If another writer appends in between, the change is decided again.
   * @throws EspalierError when the aggregate refuses the change; EventStoreUnavailableError when the store stays away, and the outcome is
   * unknown
   */
  change(id: string, change: Change, options: ChangeOptions & { key?: string }): Promise<{ state: State; facts: F[] }> {
    return this.changeInTurn(id, [{ key: options.key ?? randomUUID(), change }], options);
  }

  /** Makes several changes, each decided on the result of the one before. Either all are stored or none. */
  async changeInTurn(id: string, changes: KeyedChange<Change>[], options: ChangeOptions): Promise<{ state: State; facts: F[] }> {
    return this.inTurn(id, options, async (options) => {
      // The state that this process wrote last is nearly always the newest. If it is not, the append fails on its expected revision.
      let state = this.cache.get(id) ?? null;
      let fresh = state === null;
      if (fresh) state = await withRetries(() => this.find(id), options);
      for (let conflict = 0; conflict < CONFLICTS_MAX; conflict += 1) {
        const decided = this.tryDecide(id, state, changes, options.by);
        if (!(decided instanceof Error) && decided.facts.length > 0) {
          const appended = await this.tryAppend(id, state, decided, options);
          if (appended !== null) return { state: appended, facts: decided.facts };
        } else if (fresh) {
          if (decided instanceof Error) throw decided;
          return { state: state!, facts: [] };
        }
        state = await withRetries(() => this.find(id), options);
        fresh = true;
      }
      throw new EspalierError('CONFLICTING_CHANGES', `${this.aggregate.name} ${id} is being changed by others at the same time: try again`);
    });
  }

  private tryDecide(id: string, before: State | null, changes: KeyedChange<Change>[], by: CallContext): Decision<F> | Error {
    const at = new Date().toISOString();
    const decided: Decision<F> = { facts: [], ids: [] };
    let state = before;
    try {
      for (const { key, change } of changes) {
        const facts = this.aggregate.decide(state, change, at).map((fact) => ({ ...fact, context: by }));
        decided.facts.push(...facts);
        decided.ids.push(...facts.map(({ type }, index) => eventId(id, key, index, type)));
        if (changes.length > 1) state = this.expected(state, facts);
      }
      return decided;
    } catch (error) {
      return error instanceof NotBegun ? this.aggregate.notFound(id) : (error as Error);
    }
  }

  /** Returns the state with the facts, or null where another writer appended first. */
  private async tryAppend(id: string, state: State | null, { facts, ids }: Decision<F>, options: ChangeOptions): Promise<State | null> {
    const { stored, events } = encodeFacts(this.aggregate.types, facts, state?.chain ?? CHAIN_START, (index) => ids[index]!);
    stored.forEach((one, index) => this.aggregate.onAppend?.(one, events[index]!));
    try {
      await withRetries(() => this.append(id, stored, state), options);
    } catch (error) {
      if (error instanceof WrongExpectedRevisionError) return null;
      throw error;
    }
    const after = events.reduce<State | null>((before, event) => this.aggregate.evolve(before, event), state)!;
    this.remember(id, after);
    return after;
  }

  private append(id: string, events: NewEvent[], state: State | null): Promise<unknown> {
    const expected: ExpectedRevision = state === null ? 'no_stream' : BigInt(state.revision);
    return this.store.append(this.aggregate.streamPrefix + id, events, expected);
  }

  /** Makes the changes of one aggregate one after another, since two at once would only conflict. */
  private async inTurn<T>(id: string, options: ChangeOptions, work: (options: ChangeOptions) => Promise<T>): Promise<T> {
    const { retryForMs = RETRY_FOR_MS, onWait } = options;
    const holdUp = this.heldUp.get(id);
    if (holdUp !== undefined && retryForMs !== Infinity && !(holdUp instanceof EventStoreUnavailableError)) throw holdUp;
    const noting = {
      ...options,
      onWait: (error: Error): void => {
        this.heldUp.set(id, error);
        onWait?.(error);
      },
    };
    const before = this.turns.get(id) ?? Promise.resolve();
    let givenUp = false;
    const mine = before.then(async () => {
      if (givenUp) throw this.tooLong(id);
      try {
        return await work(noting);
      } finally {
        this.heldUp.delete(id);
      }
    });
    const settled = mine.catch(() => undefined);
    this.turns.set(id, settled);
    try {
      // The change before this one may wait for long.
      givenUp = !(await settlesWithin(before, retryForMs));
      if (givenUp) throw this.tooLong(id);
      return await mine;
    } finally {
      if (this.turns.get(id) === settled) void settled.then(() => this.turns.get(id) === settled && this.turns.delete(id));
    }
  }

  private tooLong(id: string): Error {
    return (
      this.heldUp.get(id) ??
      new EventStoreUnavailableError(`${this.aggregate.name} ${id} is being changed, and the event store does not answer`)
    );
  }

  private remember(id: string, state: State): void {
    this.cache.delete(id);
    this.cache.set(id, state);
    const [oldest] = this.cache.keys();
    if (this.cache.size > CACHED && oldest !== undefined) this.cache.delete(oldest);
  }

  /** The state as it will be with these facts, except for its digest chain. */
  private expected(before: State | null, facts: F[]): State | null {
    return expectedState(this.aggregate, before, facts);
  }
}

export function expectedState<State extends AggregateState, F extends Fact>(
  { types, evolve }: Pick<Aggregate<State, never, F>, 'types' | 'evolve'>,
  before: State | null,
  facts: F[],
): State | null {
  return facts.reduce<State | null>((state, fact) => evolve(state, { ...fact, v: types.versionOf(fact.type), chain: '' }), before);
}

// Follows all aggregates of one kind in the event store and keeps the open ones folded in memory. The feed begins with the open aggregates
// that its user knows already, or at the first event where the user knows none. From there one subscription goes on.
import { setImmediate as yieldToOthers, setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { EventCorruptError, EventStoreError, type EventStore, type Position, type StoredEvent, type Subscription } from '#event-store';
import type { Aggregate, AggregateState } from './aggregate-repository.js';
import type { Fact } from './event-codec.js';

const FIRST_RETRY_MS = 200;
const LONGEST_RETRY_MS = 5_000;
/** The feed lets other work run after this number of events, so that a long history does not block the process. */
const EVENTS_PER_TURN = 500;

/** The parts of an aggregate's definition that folding needs. */
type Folded<State extends AggregateState, F extends Fact> = Pick<Aggregate<State, never, F>, 'streamPrefix' | 'decode' | 'evolve'>;

/** The user of a feed, whose functions the feed calls. */
export interface FeedUser<State extends AggregateState> {
  /** Tells whether the feed may forget the aggregate. A later event may open a closed aggregate again. */
  isClosed(state: State): boolean;
  /** Returns the whole aggregate as the store has it. The feed asks when a closed aggregate gets another event. */
  find(id: string): Promise<State | null>;
  /** Returns where the feed starts: a position in the store, and the aggregates that are open there. */
  begin(): Promise<{ position: Position | null; open: Map<string, State> }>;
  /** The known revision of an aggregate that the feed has not met, or -1 where none is known. */
  revisionBefore(id: string): number;
  /** Called for each event with its effect. `before` is null for an aggregate that is new or was closed. */
  changed(id: string, before: State | null, after: State): void;
  /** Called when an event of the aggregate can't be read or is missing. From then on the feed ignores the aggregate. */
  damaged(id: string, error: EventCorruptError): void;
}

export class AggregateFeed<State extends AggregateState, F extends Fact> {
  private readonly open = new Map<string, State>();
  /** The revisions of the aggregates that were closed since the feed started. */
  private readonly closed = new Map<string, number>();
  private readonly damaged = new Set<string>();
  private readonly waiting = new Set<(id: string, revision: number) => void>();
  private subscription: Subscription | null = null;
  private started = false;
  private stopped = false;
  /** The position of the last event that the feed has taken. */
  private position: Position | null = null;
  private ready: Promise<void> = Promise.resolve();

  constructor(
    private readonly store: EventStore,
    private readonly aggregate: Folded<State, F>,
    private readonly user: FeedUser<State>,
    private readonly log: Logger,
  ) {}

  /** Resolves when the feed knows everything that was recorded so far. */
  async start(): Promise<void> {
    if (!this.started) {
      this.started = true;
      const { position, open } = await this.user.begin();
      this.position ??= position;
      for (const [id, state] of open) this.open.set(id, state);
      this.ready = new Promise((resolve) => void this.follow(resolve));
    }
    await this.ready;
  }

  /**
   * Takes an item that another reader has read. The reader offers all items of the store from the first one on. So a history that both
   * need is read once. Once the feed has started, it reads by itself.
   */
  async offer(item: StoredEvent | EventCorruptError): Promise<void> {
    if (this.started || !item.stream.startsWith(this.aggregate.streamPrefix)) return;
    if (item instanceof EventCorruptError) {
      this.setAside(this.idOf(item), item);
      this.position = item.position;
    } else await this.takeOrPassOver(item);
  }

  /** Reads the store up to now, and returns when the feed knows all these events. The subscription alone may be a little behind. */
  async settle(): Promise<void> {
    try {
      const after = this.position === null ? {} : { after: this.position };
      for await (const event of this.store.readAll({ ...after, streamPrefixes: [this.aggregate.streamPrefix] })) await this.apply(event);
    } catch (error) {
      if (!(error instanceof EventCorruptError)) throw error;
      this.setAside(this.idOf(error), error);
    }
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.subscription?.close();
  }

  /** All aggregates that are not closed. */
  all(): State[] {
    return [...this.open.values()];
  }

  get(id: string): State | undefined {
    return this.open.get(id);
  }

  isDamaged(id: string): boolean {
    return this.damaged.has(id);
  }

  hasDamage(): boolean {
    return this.damaged.size > 0;
  }

  /** Resolves when the feed has come as far as this revision. */
  seen(id: string, revision: number): Promise<void> {
    if ((this.revisionOf(id) ?? this.user.revisionBefore(id)) >= revision) return Promise.resolve();
    return new Promise((resolve) => {
      const look = (changed: string, reached: number): void => {
        if (changed !== id || reached < revision) return;
        this.waiting.delete(look);
        resolve();
      };
      this.waiting.add(look);
    });
  }

  /** Ignores an aggregate from now on because its record is damaged. */
  setAside(id: string, error: EventCorruptError): void {
    this.damaged.add(id);
    this.open.delete(id);
    this.closed.delete(id);
    this.user.damaged(id, error);
  }

  private idOf({ stream }: { stream: string }): string {
    return stream.slice(this.aggregate.streamPrefix.length);
  }

  private revisionOf(id: string): number | undefined {
    return this.open.get(id)?.revision ?? this.closed.get(id);
  }

  /** Follows the subscription until the feed is stopped. After an error it goes on where it was. */
  private async follow(caughtUp: () => void): Promise<void> {
    let taken = 0;
    for (let retryMs = FIRST_RETRY_MS; !this.stopped; retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS)) {
      try {
        this.subscription = this.store.subscribeAll({ after: this.position ?? 'start', streamPrefixes: [this.aggregate.streamPrefix] });
        for await (const item of this.subscription) {
          if (item.kind === 'caughtUp') caughtUp();
          if (item.kind === 'damaged') this.setAside(this.idOf(item.error), item.error);
          if (item.kind === 'event') await this.takeOrPassOver(item.event);
          if ((taken += 1) % EVENTS_PER_TURN === 0) await yieldToOthers();
          retryMs = FIRST_RETRY_MS;
        }
      } catch (error) {
        this.log.error({ err: error }, 'the event store could not be read on; trying again');
      }
      await this.subscription?.close().catch(() => undefined);
      if (!this.stopped) await sleep(retryMs, undefined, { ref: false });
    }
  }

  /** @throws errors that may pass; all others are logged, and the event is passed over */
  private async takeOrPassOver(event: StoredEvent): Promise<void> {
    try {
      await this.apply(event);
    } catch (error) {
      if (passes(error)) throw error;
      // One unreadable event must not hold up the others. A verification of the record names it.
      this.log.error({ err: error, stream: event.stream, revision: Number(event.revision) }, 'an event could not be read');
    }
    this.position = event.position;
  }

  private async apply(stored: StoredEvent): Promise<void> {
    const id = this.idOf(stored);
    const revision = Number(stored.revision);
    if (this.damaged.has(id) || revision <= (this.revisionOf(id) ?? -1)) return;
    const before = this.open.get(id) ?? null;
    if (before !== null && revision > before.revision + 1) {
      const missing = BigInt(before.revision + 1);
      this.setAside(id, new EventCorruptError(stored.stream, missing, stored.position, `event ${missing} is missing`));
      return;
    }
    const goesOn = before !== null || (revision === 0 && !this.closed.has(id));
    const after = goesOn ? this.aggregate.evolve(before, this.aggregate.decode(stored)) : await this.user.find(id);
    if (after === null) return;
    if (this.user.isClosed(after)) {
      this.open.delete(id);
      this.closed.set(id, after.revision);
    } else {
      this.closed.delete(id);
      this.open.set(id, after);
    }
    this.user.changed(id, before, after);
    for (const look of [...this.waiting]) look(id, after.revision);
  }
}

/** Tells whether the error may pass: a store or a disk is away. An error in an event's content does not pass. */
function passes(error: unknown): boolean {
  if (error instanceof EventStoreError) return !(error instanceof EventCorruptError);
  return String((error as { code?: unknown }).code).startsWith('SQLITE_');
}

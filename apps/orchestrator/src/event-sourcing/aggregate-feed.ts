// All aggregates of one kind, folded from the event store. The feed begins with the open aggregates that are known already, and goes on by
// one subscription from there. If none is known, it starts at the first event.
import { setImmediate as yieldToOthers, setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { EventCorruptError, EventStoreError, type EventStore, type Position, type StoredEvent, type Subscription } from '#event-store';
import type { Aggregate, AggregateState } from './aggregate-repository.js';
import type { Fact } from './event-codec.js';

const FIRST_RETRY_MS = 200;
const LONGEST_RETRY_MS = 5_000;
/** A long history must not keep others from their turn. */
const EVENTS_A_TURN = 500;

/** How an aggregate is folded. */
type Folded<State extends AggregateState, F extends Fact> = Pick<Aggregate<State, never, F>, 'streamPrefix' | 'decode' | 'evolve'>;

/** The surroundings of a feed, which it calls. */
export interface FeedUser<State extends AggregateState> {
  /** The aggregate is closed, and the feed forgets it. A later event may open it again. */
  isClosed(state: State): boolean;
  /** The whole aggregate as the store has it, for a closed one with a later event. */
  find(id: string): Promise<State | null>;
  /** Where the feed goes on from. */
  begin(): Promise<{ position: Position | null; open: Map<string, State> }>;
  /** The known revision of an aggregate that the feed has not met; -1: none. */
  revisionBefore(id: string): number;
  /** Told of each event's effect; `before` is null for an aggregate that is new or was closed. */
  changed(id: string, before: State | null, after: State): void;
  /** An event of the aggregate can't be read, or is missing: the feed ignores the aggregate from now on. */
  damaged(id: string, error: EventCorruptError): void;
}

export class AggregateFeed<State extends AggregateState, F extends Fact> {
  private readonly open = new Map<string, State>();
  /** The revisions of those that were closed since our start. */
  private readonly closed = new Map<string, number>();
  private readonly damaged = new Set<string>();
  private readonly waiting = new Set<(id: string, revision: number) => void>();
  private subscription: Subscription | null = null;
  private started = false;
  private stopped = false;
  /** The position of the last event taken. */
  private position: Position | null = null;
  private ready: Promise<void> = Promise.resolve();

  constructor(
    private readonly store: EventStore,
    private readonly aggregate: Folded<State, F>,
    private readonly user: FeedUser<State>,
    private readonly log: Logger,
  ) {}

  /** Resolves when everything recorded so far is known. */
  async start(): Promise<void> {
    if (!this.started) {
      this.started = true;
      const { position, open } = await this.user.begin();
      this.position = position;
      for (const [id, state] of open) this.open.set(id, state);
      this.ready = new Promise((resolve) => void this.follow(resolve));
    }
    await this.ready;
  }

  /** Returns when the feed knows all events up to now; the subscription may be a little behind. */
  async settle(): Promise<void> {
    try {
      const after = this.position === null ? {} : { after: this.position };
      for await (const event of this.store.readAll({ ...after, streamPrefixes: [this.aggregate.streamPrefix] })) await this.take(event);
    } catch (error) {
      if (!(error instanceof EventCorruptError)) throw error;
      this.setAside(this.idOf(error), error);
    }
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.subscription?.close();
  }

  /** Those that are not closed. */
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

  /** An aggregate with a damaged record is ignored. */
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

  /** Runs as long as the process. After any error it goes on from where it was. */
  private async follow(caughtUp: () => void): Promise<void> {
    let taken = 0;
    for (let retryMs = FIRST_RETRY_MS; !this.stopped; retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS)) {
      try {
        this.subscription = this.store.subscribeAll({ after: this.position ?? 'start', streamPrefixes: [this.aggregate.streamPrefix] });
        for await (const item of this.subscription) {
          if (item.kind === 'caughtUp') caughtUp();
          if (item.kind === 'damaged') this.setAside(this.idOf(item.error), item.error);
          if (item.kind === 'event') await this.takeOrPassOver(item.event);
          if ((taken += 1) % EVENTS_A_TURN === 0) await yieldToOthers();
          retryMs = FIRST_RETRY_MS;
        }
      } catch (error) {
        this.log.error({ err: error }, 'the event store could not be read on; trying again');
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
      // One unreadable event must not hold up the others; verification names it.
      this.log.error({ err: error, stream: event.stream, revision: Number(event.revision) }, 'an event could not be read');
    }
    this.position = event.position;
  }

  private async take(stored: StoredEvent): Promise<void> {
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

/** A store or a disk is away; what an event holds does not change. */
function passes(error: unknown): boolean {
  if (error instanceof EventStoreError) return !(error instanceof EventCorruptError);
  return String((error as { code?: unknown }).code).startsWith('SQLITE_');
}

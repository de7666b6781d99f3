// The lease by which one orchestrator on an event store drives the runs, while the others stand by. The newest event of one
// stream names the driver. It is appended with the expected revision, so two orchestrators can never both take the lease.
//
// Each process measures time by itself, from the moment when it saw the newest event, so clocks that differ or jump do no harm. A driver
// that was asleep for longer than its lease may still believe in the lease for a moment. What it then tries to record is refused, since its
// attempt was closed. The removal of bytes can't be refused, so it looks at the clock first (`isSurelyHeld`).
//
// The same holds on an embedded store: a user who knows its address can let another orchestrator use it.
import { randomUUID } from 'node:crypto';
import { hostname, uptime } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import {
  EventCorruptError,
  EventStoreUnavailableError,
  readPastDamage,
  WrongExpectedRevisionError,
  type EventStore,
  type StoredEvent,
} from '#event-store';
import { EspalierError } from '#protocol';

export const DRIVER_STREAM = 'espalierDriver';
/** The number of events that the stream keeps. Old renewals have no use. */
const KEPT_EVENTS = 100;
const RENEWALS_PER_LEASE = 3;
/**
 * The lease of an orchestrator on its own embedded store. It is long, because that store ends with its orchestrator and no other one waits
 * for the lease to run out. Each renewal is an event that stays in the store's file.
 */
const OWNERS_LEASE_MS = 600_000;

type LeaseEventType = 'DrivingTaken' | 'DrivingRenewed' | 'DrivingReleased';
interface Holder {
  instance: string;
  /** The id of the holder's data folder, which a lock keeps to one process. */
  folderId: string;
  host: string;
  pid: number;
  listen: string;
  leaseMs: number;
  /** Whether the event store is embedded in the holder's data folder. */
  ownsStore: boolean;
}
interface Newest extends Holder {
  type: LeaseEventType;
  revision: bigint;
  /** The time of this process's own monotonic clock. */
  seenAtMs: number;
}

export interface DriverLeaseOptions {
  store: EventStore;
  folderId: string;
  leaseMs: number;
  log: Logger;
  /** Whether the event store is embedded in this server's data folder. */
  ownsStore: boolean;
  /** Only tests set it. */
  clock?: () => number;
}

/**
 * The share of the lease for which it is surely held. Other processes count a lease from when they see it, later than its holder does. The
 * rest leaves time between a look at the clock and an act.
 */
const SURE_SHARE = 0.8;

/** The time that covers an append, and the time in which a store notices that it can write again. */
const LOOK_AGAIN_MS = 5_000;

export class DriverLease {
  private readonly instance = randomUUID();
  private readonly stopping = new AbortController();
  private readonly listeners = new Set<() => void>();
  private newest: Newest | null = null;
  private isHeld = false;
  private renewedAtMs = -Infinity;
  private takesFromFormerLife = true;
  private listen = '';
  private running: Promise<void> = Promise.resolve();
  private wake: () => void = () => undefined;
  private lookedOnce: () => void = () => undefined;

  private readonly clock: () => number;

  constructor(private readonly options: DriverLeaseOptions) {
    this.clock = options.clock ?? sinceBoot;
  }

  /** Whether this orchestrator drives the runs. */
  get held(): boolean {
    return this.isHeld;
  }

  /**
   * Whether no other orchestrator can have taken over the runs by now. A process that was stopped, or whose machine slept, still believes
   * that it drives them when it wakes up. So ask this right before anything that can't be undone.
   */
  get isSurelyHeld(): boolean {
    return this.isHeld && this.clock() - this.renewedAtMs < this.ownLeaseMs * SURE_SHARE;
  }

  /** The listener is called when `held` changes, and at each sign of life of another driver. */
  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }

  /**
   * Returns when it is known who drives. It waits for a store that does not answer; a store that can't write at the moment is asked again
   * later.
   */
  async start(): Promise<void> {
    await this.patientLook();
    this.running = this.keep();
  }

  /** Sets the address that clients are sent to. The next renewal tells it to the other orchestrators. */
  announce(listen: string): void {
    this.listen = listen;
    this.wake();
  }

  /**
   * Call this when a cause that kept the lease from being renewed is gone. It returns when it is known who drives, or after LOOK_AGAIN_MS.
   */
  async lookAgain(): Promise<void> {
    const looked = new Promise<void>((resolve) => {
      this.lookedOnce = resolve;
    });
    this.wake();
    await Promise.race([looked, sleep(LOOK_AGAIN_MS, undefined, { ref: false })]);
  }

  /** @throws EspalierError ORCHESTRATOR_STANDBY */
  requireHeld(): void {
    if (!this.isHeld) throw this.standby();
  }

  standby(): EspalierError {
    const { newest } = this;
    if (newest?.instance === this.instance && newest.type !== 'DrivingReleased')
      return new EspalierError(
        'ORCHESTRATOR_STANDBY',
        'this orchestrator stands by: it could not reach its event store for longer than its lease of the runs lasts, so another ' +
          'orchestrator may drive them now; it goes on by itself once it reaches the store',
      );
    const who =
      newest === null
        ? 'another orchestrator'
        : `process ${newest.pid} on ${newest.host}${newest.listen === '' ? '' : `, which serves ${newest.listen}`}`;
    return new EspalierError(
      'ORCHESTRATOR_STANDBY',
      `this orchestrator stands by: the runs of its event store are driven by ${who}; ask there, or wait until it has ended`,
      { metadata: newest === null ? {} : { driver: newest.listen, host: newest.host, pid: String(newest.pid) } },
    );
  }

  /** Gives up the lease, so that another orchestrator can take over at once. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
    await this.running;
    // An own store ends with this process, so other orchestrators would have no runs to drive. And the lease must be free for this server's
    // next start.
    if (this.options.ownsStore || !this.isHeld || this.newest === null) return;
    await this.append('DrivingReleased', this.newest.revision).catch(() => undefined); // the lease runs out by itself
  }

  private async patientLook(): Promise<void> {
    for (let wait = 100; !this.stopping.signal.aborted; wait = Math.min(wait * 2, 5_000)) {
      try {
        await this.look();
        return;
      } catch (error) {
        this.options.log.warn({ err: error }, 'waiting for the event store to learn who drives the runs');
        if (!(error instanceof EventStoreUnavailableError)) return; // the store can be read, so the server answers questions meanwhile
        await sleep(wait, undefined, { signal: this.stopping.signal }).catch(() => undefined);
      }
    }
  }

  private async keep(): Promise<void> {
    const { leaseMs, log } = this.options;
    while (!this.stopping.signal.aborted) {
      const woken = new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      await Promise.race([woken, sleep(leaseMs / RENEWALS_PER_LEASE, undefined, { signal: this.stopping.signal }).catch(() => undefined)]);
      if (this.stopping.signal.aborted) return;
      const { lookedOnce } = this;
      try {
        await this.look();
        lookedOnce();
      } catch (error) {
        log.warn({ err: error }, 'the lease of the driver could not be checked');
        if (this.isHeld && this.clock() - this.renewedAtMs > this.ownLeaseMs) this.setHeld(false); // another orchestrator may hold it now
      }
    }
  }

  /** Renews the own lease, takes a free one, or learns who holds it. */
  private async look(): Promise<void> {
    const newest = await this.read();
    const sign = newest !== null && newest.revision !== this.newest?.revision;
    if (sign) this.newest = newest;
    const mine = newest?.instance === this.instance && newest.type !== 'DrivingReleased';
    const isFresh = this.clock() - this.renewedAtMs < OWNERS_LEASE_MS / RENEWALS_PER_LEASE;
    if (mine && this.isHeld && this.options.ownsStore && isFresh && newest.listen === this.listen) return;
    if (mine || this.isFree()) {
      try {
        const startedAtMs = this.clock();
        await this.append(mine ? 'DrivingRenewed' : 'DrivingTaken', newest?.revision ?? null);
        this.renewedAtMs = startedAtMs;
        this.takesFromFormerLife = false;
        this.setHeld(true);
        return;
      } catch (error) {
        if (!(error instanceof WrongExpectedRevisionError)) throw error;
        return this.look(); // another orchestrator was faster
      }
    }
    this.takesFromFormerLife = false;
    this.setHeld(false);
    if (sign) this.notify();
  }

  private isFree(): boolean {
    const { newest } = this;
    if (newest === null || newest.type === 'DrivingReleased') return true;
    // The lock of the data folder proves that its former holder is dead, even if the store was copied here with the folder. This is asked
    // only at the start: otherwise two copies of a folder would take the lease from each other again and again.
    const isFormerLife = newest.folderId === this.options.folderId || (newest.ownsStore && this.options.ownsStore);
    if (this.takesFromFormerLife && isFormerLife) return true;
    return performance.now() - newest.seenAtMs > newest.leaseMs;
  }

  private async read(): Promise<Newest | null> {
    for await (const event of readPastDamage(this.options.store, DRIVER_STREAM, { direction: 'backwards', maxCount: 1 })) {
      if (event.revision === this.newest?.revision) return this.newest;
      return parsed(event);
    }
    return null;
  }

  private async append(type: LeaseEventType, after: bigint | null): Promise<void> {
    const { store, folderId, ownsStore } = this.options;
    const holder: Holder = {
      instance: this.instance,
      folderId,
      host: hostname(),
      pid: process.pid,
      listen: this.listen,
      leaseMs: this.ownLeaseMs,
      ownsStore,
    };
    const { revision } = await store.append(
      DRIVER_STREAM,
      [{ id: randomUUID(), type, data: Buffer.from(JSON.stringify(holder)) }],
      after ?? 'no_stream',
    );
    this.newest = { ...holder, type, revision, seenAtMs: performance.now() };
    if (type === 'DrivingTaken') await store.keepNewest(DRIVER_STREAM, KEPT_EVENTS).catch(() => undefined); // a failure only costs space
  }

  private get ownLeaseMs(): number {
    return this.options.ownsStore ? OWNERS_LEASE_MS : this.options.leaseMs;
  }

  private setHeld(held: boolean): void {
    if (held === this.isHeld) return;
    this.isHeld = held;
    if (held) this.options.log.info('this orchestrator drives the runs');
    else this.options.log.warn({ driver: this.newest?.listen }, 'this orchestrator stands by: another drives the runs');
    this.notify();
  }

  private notify(): void {
    for (const listener of this.listeners) listener();
  }
}

/** Milliseconds since the machine started. The number never falls, and it grows while the machine sleeps, unlike performance.now(). */
function sinceBoot(): number {
  return uptime() * 1_000;
}

/**
 * Reads a lease event. An event that can't be read must not block for ever, so it counts as a lease of the longest kind from when it was
 * seen.
 */
function parsed(event: StoredEvent | EventCorruptError): Newest {
  const seen = { revision: event.revision, seenAtMs: performance.now() };
  const unknown: Newest = {
    type: 'DrivingTaken',
    instance: '',
    folderId: '',
    host: 'unknown',
    pid: 0,
    listen: '',
    leaseMs: 60_000,
    ownsStore: false,
    ...seen,
  };
  if (event instanceof EventCorruptError) return unknown;
  try {
    const holder = JSON.parse(Buffer.from(event.data).toString('utf8')) as Partial<Holder>;
    const leaseMs = Number(holder.leaseMs);
    return { ...unknown, ...holder, leaseMs: leaseMs > 0 ? leaseMs : unknown.leaseMs, type: event.type as LeaseEventType, ...seen };
  } catch {
    return unknown;
  }
}

// On one event store there may be several orchestrators: one drives the runs, the others stand by. Who drives is the newest event of
// one stream, appended with the expected revision, so that two can never both take it. Time is measured by each process for
// itself, from when it saw the newest event: clocks that differ or jump do no harm. A driver that was asleep for longer than
// its lease may still believe in it for a moment; what it then tries to record is refused, since its attempt was closed. What can't be
// refused, the removal of bytes, looks at the clock (`isSurelyHeld`).
// The same holds on an embedded store: a user who knows its address can point another orchestrator at it.
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
/** Renewals are of no interest later. */
const KEPT_EVENTS = 100;
const RENEWALS_A_LEASE = 3;
/**
 * The lease of an orchestrator on its own embedded store. It is long, since that store ends with the orchestrator: no other orchestrator
 * waits for the lease to run out. And each renewal is an event that stays in the store's file.
 */
const OWNERS_LEASE_MS = 600_000;

type LeaseEventType = 'DrivingTaken' | 'DrivingRenewed' | 'DrivingReleased';
interface Holder {
  instance: string;
  /** The id of its data folder, which a lock keeps to one process. */
  folderId: string;
  host: string;
  pid: number;
  listen: string;
  leaseMs: number;
  /** The event store is embedded in the holder's data folder. */
  ownsStore: boolean;
}
interface Newest extends Holder {
  type: LeaseEventType;
  revision: bigint;
  /** By our own monotonic clock. */
  seenAtMs: number;
}

export interface DriverLeaseOptions {
  store: EventStore;
  folderId: string;
  leaseMs: number;
  log: Logger;
  /** The event store is embedded in our data folder. */
  ownsStore: boolean;
  /** For tests. */
  clock?: () => number;
}

/** Others count a lease from when they see it, later than we do. The rest is for the time between a look at the clock and a deed. */
const SURE_SHARE = 0.8;

/** An append, with what a store needs to notice that it can write again. */
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
  private tellLooked: () => void = () => undefined;

  private readonly clock: () => number;

  constructor(private readonly options: DriverLeaseOptions) {
    this.clock = options.clock ?? sinceBoot;
  }

  /** Whether this orchestrator drives the runs. */
  get held(): boolean {
    return this.isHeld;
  }

  /**
   * Whether no other orchestrator can have taken the runs over by now. A process that was stopped, or whose machine slept, still believes
   * that they are its own when it wakes up. So this is asked right before anything that can't be undone.
   */
  get isSurelyHeld(): boolean {
    return this.isHeld && this.clock() - this.renewedAtMs < this.ownLeaseMs * SURE_SHARE;
  }

  /** Called when that changes, and at each sign of life of another driver. */
  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }

  /** Returns when it is known who drives; a store that does not answer is waited for, one that can't write now is asked again later. */
  async start(): Promise<void> {
    await this.patientLook();
    this.running = this.keep();
  }

  /** The address that clients are sent to; told to the others with the next renewal. */
  announce(listen: string): void {
    this.listen = listen;
    this.wake();
  }

  /** When something that kept it from being renewed is mended; returns when it is known who drives, or after a while. */
  async lookAgain(): Promise<void> {
    const looked = new Promise<void>((resolve) => {
      this.tellLooked = resolve;
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

  /** Lets another take over at once. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
    await this.running;
    // Our own store ends with us, so others have nothing to drive. And the lease must be free when we come back to it.
    if (this.options.ownsStore || !this.isHeld || this.newest === null) return;
    await this.append('DrivingReleased', this.newest.revision).catch(() => undefined); // it ends by itself
  }

  private async patientLook(): Promise<void> {
    for (let wait = 100; !this.stopping.signal.aborted; wait = Math.min(wait * 2, 5_000)) {
      try {
        await this.look();
        return;
      } catch (error) {
        this.options.log.warn({ err: error }, 'waiting for the event store to learn who drives the runs');
        if (!(error instanceof EventStoreUnavailableError)) return; // it can be read: questions are answered meanwhile
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
      await Promise.race([woken, sleep(leaseMs / RENEWALS_A_LEASE, undefined, { signal: this.stopping.signal }).catch(() => undefined)]);
      if (this.stopping.signal.aborted) return;
      const { tellLooked } = this;
      try {
        await this.look();
        tellLooked();
      } catch (error) {
        log.warn({ err: error }, 'the lease of the driver could not be looked after');
        if (this.isHeld && this.clock() - this.renewedAtMs > this.ownLeaseMs) this.setHeld(false); // another may have it
      }
    }
  }

  /** Renews our lease, takes a free one, or learns who holds it. */
  private async look(): Promise<void> {
    const newest = await this.read();
    const sign = newest !== null && newest.revision !== this.newest?.revision;
    if (sign) this.newest = newest;
    const mine = newest?.instance === this.instance && newest.type !== 'DrivingReleased';
    const isFresh = this.clock() - this.renewedAtMs < OWNERS_LEASE_MS / RENEWALS_A_LEASE;
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
        return this.look(); // another was quicker
      }
    }
    this.takesFromFormerLife = false;
    this.setHeld(false);
    if (sign) this.tell();
  }

  private isFree(): boolean {
    const { newest } = this;
    if (newest === null || newest.type === 'DrivingReleased') return true;
    // The lock of the data folder says that the process that held it before us is dead, also one that had the store before
    // it was copied here. Asked at our start only: a copy of the folder would otherwise take the lease back and forth.
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
    if (type === 'DrivingTaken') await store.keepNewest(DRIVER_STREAM, KEPT_EVENTS).catch(() => undefined); // only saves space
  }

  private get ownLeaseMs(): number {
    return this.options.ownsStore ? OWNERS_LEASE_MS : this.options.leaseMs;
  }

  private setHeld(held: boolean): void {
    if (held === this.isHeld) return;
    this.isHeld = held;
    if (held) this.options.log.info('this orchestrator drives the runs');
    else this.options.log.warn({ driver: this.newest?.listen }, 'this orchestrator stands by: another drives the runs');
    this.tell();
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }
}

/** Milliseconds; never goes back, and goes on while the machine sleeps, which performance.now() does not. */
function sinceBoot(): number {
  return uptime() * 1_000;
}

/** A lease event that can't be read must not block for ever: it counts as a lease of the longest kind, from when it was seen. */
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

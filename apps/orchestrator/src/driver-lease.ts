// Of several orchestrators on one event store one drives the runs, the others stand by. Who drives is the newest event of
// one stream, appended with the expected revision, so that two can never both take it. Time is measured by each process for
// itself, from when it saw the newest event: clocks that differ or jump do no harm. A driver that was asleep for longer than
// its lease may still believe in it for a moment; what it then tries to record is refused, since its attempt was closed.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { EventCorruptError, readPastDamage, WrongExpectedRevisionError, type EventStore, type StoredEvent } from '#event-store';
import { EspalierError } from '#protocol';

export const DRIVER_STREAM = 'espalierDriver';
/** Renewals are of no interest later. */
const KEPT_EVENTS = 100;
const RENEWALS_A_LEASE = 3;

type LeaseEventType = 'DrivingTaken' | 'DrivingRenewed' | 'DrivingReleased';
interface Holder {
  instance: string;
  /** Of its data folder: a lock keeps all but one process from it. */
  folderId: string;
  host: string;
  pid: number;
  listen: string;
  leaseMs: number;
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
  /** Nobody else can reach the event store. */
  alone: boolean;
}

export class DriverLease {
  private readonly instance = randomUUID();
  private readonly stopping = new AbortController();
  private readonly listeners = new Set<() => void>();
  private newest: Newest | null = null;
  private isHeld: boolean;
  private renewedAtMs = 0;
  private takesFromFormerLife = true;
  private listen = '';
  private running: Promise<void> = Promise.resolve();
  private wake: () => void = () => undefined;

  constructor(private readonly options: DriverLeaseOptions) {
    this.isHeld = options.alone;
  }

  /** Whether the runs are ours to drive. */
  get held(): boolean {
    return this.isHeld;
  }

  /** Called when that changes, and at each sign of life of another driver. */
  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }

  /** Returns when it is known who drives; a store that does not answer is waited for. */
  async start(): Promise<void> {
    if (this.options.alone) return;
    await this.patientLook();
    this.running = this.keep();
  }

  /** The address that clients are sent to; told to the others with the next renewal. */
  announce(listen: string): void {
    this.listen = listen;
    this.wake();
  }

  /** @throws EspalierError ORCHESTRATOR_STANDBY */
  requireHeld(): void {
    if (!this.isHeld) throw this.standby();
  }

  standby(): EspalierError {
    const { newest } = this;
    const who = newest === null ? 'another orchestrator' : `process ${newest.pid} on ${newest.host}${newest.listen === '' ? '' : `, which serves ${newest.listen}`}`;
    return new EspalierError('ORCHESTRATOR_STANDBY',
      `this orchestrator stands by: the runs of its event store are driven by ${who}; ask there, or wait until it has ended`,
      { metadata: newest === null ? {} : { driver: newest.listen, host: newest.host, pid: String(newest.pid) } });
  }

  /** Lets another take over at once. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
    await this.running;
    if (this.options.alone || !this.isHeld || this.newest === null) return;
    await this.append('DrivingReleased', this.newest.revision).catch(() => undefined); // it ends by itself
  }

  private async patientLook(): Promise<void> {
    for (let wait = 100; !this.stopping.signal.aborted; wait = Math.min(wait * 2, 5_000)) {
      try {
        return await this.look();
      } catch (error) {
        this.options.log.warn({ err: error }, 'waiting for the event store to learn who drives the runs');
        await sleep(wait, undefined, { signal: this.stopping.signal }).catch(() => undefined);
      }
    }
  }

  private async keep(): Promise<void> {
    const { leaseMs, log } = this.options;
    while (!this.stopping.signal.aborted) {
      const woken = new Promise<void>((resolve) => { this.wake = resolve; });
      await Promise.race([woken, sleep(leaseMs / RENEWALS_A_LEASE, undefined, { signal: this.stopping.signal }).catch(() => undefined)]);
      if (this.stopping.signal.aborted) return;
      try {
        await this.look();
      } catch (error) {
        log.warn({ err: error }, 'the lease of the driver could not be looked after');
        if (this.isHeld && performance.now() - this.renewedAtMs > leaseMs) this.setHeld(false); // somebody else may have it
      }
    }
  }

  /** Renews what we hold, takes what nobody holds, or learns who holds it. */
  private async look(): Promise<void> {
    const newest = await this.read();
    const sign = newest !== null && newest.revision !== this.newest?.revision;
    if (sign) this.newest = newest;
    const mine = newest?.instance === this.instance && newest.type !== 'DrivingReleased';
    if (mine || this.isFree()) {
      try {
        const startedAtMs = performance.now();
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
    // The lock of the data folder says that the process that held it before us is dead. Asked at our start only: a copy of
    // the folder would otherwise take the lease back and forth.
    if (this.takesFromFormerLife && newest.folderId === this.options.folderId) return true;
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
    const { store, folderId, leaseMs } = this.options;
    const holder: Holder = { instance: this.instance, folderId, host: hostname(), pid: process.pid, listen: this.listen, leaseMs };
    const { revision } = await store.append(DRIVER_STREAM, [{ id: randomUUID(), type, data: Buffer.from(JSON.stringify(holder)) }], after ?? 'no_stream');
    this.newest = { ...holder, type, revision, seenAtMs: performance.now() };
    if (type === 'DrivingTaken') await store.keepNewest(DRIVER_STREAM, KEPT_EVENTS).catch(() => undefined); // only saves space
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

/** What nobody can read holds nothing for ever: it counts as a lease of the longest kind from when it was seen. */
function parsed(event: StoredEvent | EventCorruptError): Newest {
  const seen = { revision: event.revision, seenAtMs: performance.now() };
  const unknown: Newest = { type: 'DrivingTaken', instance: '', folderId: '', host: 'unknown', pid: 0, listen: '', leaseMs: 60_000, ...seen };
  if (event instanceof EventCorruptError) return unknown;
  try {
    const holder = JSON.parse(Buffer.from(event.data).toString('utf8')) as Partial<Holder>;
    const leaseMs = Number(holder.leaseMs);
    return { ...unknown, ...holder, leaseMs: leaseMs > 0 ? leaseMs : unknown.leaseMs, type: event.type as LeaseEventType, ...seen };
  } catch {
    return unknown;
  }
}

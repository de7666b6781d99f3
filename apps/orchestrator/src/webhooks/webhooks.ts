// Follows the event store, looks at the disks, and sends notifications to the receivers. No other work waits for it, and after every error
// it tries again.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import { EventCorruptError, EventStoreError, missingIn, type EventStore, type StoredEvent, type Subscription } from '#event-store';
import { roomIn } from '#files';
import type { OrchestratorConfig } from '../config.js';
import { Tallies } from '../monitoring/tallies.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { decodeStored, RUN_STREAM_PREFIX, runIdOf } from '../pruning-run/record/stored-event.js';
import { pruningRun } from '../pruning-run/run-repository.js';
import { DriverLease } from '../storage/driver-lease.js';
import { EVENT_STORE, LOGGER, ORCHESTRATOR_CONFIG, WEBHOOKS } from '../provider-names.js';
import { deliver } from './delivery.js';
import { disksOf } from './disks.js';
import { NOTIFIED_TYPES, notificationsOf, type Notification } from './notifications.js';
import { Outbox, type Cursor, type Waiting } from './outbox.js';
import type { Webhook, WebhookSettings } from './webhook-file.js';

/** The outbox's file in the data folder. */
export const OUTBOX_FILE = 'webhooks.sqlite';
const WORTH_SENDING_MS = 86_400_000;
const LONGEST_RETRY_MS = 3_600_000;
const LONGEST_DOUBLINGS = 20;
const DISK_LOOK_MS = 30_000;
const EVENTS_PER_CURSOR = 500;
/**
 * After a notification about a disk, the next one needs this share of the limit to be free in between. So a disk near the limit is reported
 * once.
 */
const ROOMY_SHARE = 1.1;

interface WebhookTimes {
  /** The time that a receiver has for its answer. */
  attemptMs: number;
  firstRetryMs: number;
  /** The interval of looks at the outbox, since nothing tells this part when the lease or the clock changes. */
  lookMs: number;
}
const USUAL_TIMES: WebhookTimes = { attemptMs: 10_000, firstRetryMs: 5_000, lookMs: 5_000 };

type Condition = 'well' | 'failing' | 'giving up';

@Injectable()
export class Webhooks {
  /** Only tests change it. */
  times = USUAL_TIMES;
  /** Only tests change it. */
  room: (folder: string) => Promise<number> = roomIn;

  private outbox: Outbox | null = null;
  private subscription: Subscription | null = null;
  private readonly stopping = new AbortController();
  private readonly wakers = new Set<() => void>();
  private readonly conditions = new Map<string, Condition>();
  /** Notifications that their receivers took but that are still in the outbox, because its disk may be full. */
  private readonly taken = new Set<string>();
  private isReadingWell = true;
  private areDisksKnown = true;
  private readSinceCursor = 0;
  private running: Promise<unknown> = Promise.resolve();
  /** The last look at the disks, so that there is one at a time. */
  private disksLooked: Promise<void> = Promise.resolve();
  private diskTimer: NodeJS.Timeout | undefined;

  constructor(
    @Inject(EVENT_STORE) private readonly store: EventStore,
    @Inject(DriverLease) private readonly lease: Pick<DriverLease, 'held'>,
    @Inject(Tallies) private readonly tallies: Tallies,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'dataFolder' | 'artifactFolder'>,
    @Inject(WEBHOOKS) private readonly settings: WebhookSettings,
    @Inject(LOGGER) private readonly log: Pick<Logger, 'info' | 'warn' | 'error'>,
  ) {}

  /** Starts, and returns at once. */
  start(): void {
    const { webhooks } = this.settings;
    if (webhooks.length === 0) return;
    this.running = Promise.all([this.follow(), ...webhooks.map((webhook) => this.deliverAll(webhook))]);
    this.diskTimer = setInterval(() => void this.lookAtDisks(), DISK_LOOK_MS).unref();
  }

  /** Stops. An attempt under way is broken off, and made again at the next start. */
  async stop(): Promise<void> {
    this.stopping.abort();
    clearInterval(this.diskTimer);
    this.wake();
    await this.subscription?.close().catch(() => undefined);
    await this.running;
    this.outbox?.close();
    this.outbox = null;
  }

  /** The number of waiting notifications by webhook. A standby sends none about runs, so it reports no numbers. */
  waiting(): [labels: { webhook: string }, count: number][] {
    const { outbox } = this;
    if (outbox === null || !this.lease.held) return [];
    return this.settings.webhooks.map(({ name }) => [{ webhook: name }, outbox.count(name)]);
  }

  private get stopped(): boolean {
    return this.stopping.signal.aborted;
  }

  private async follow(): Promise<void> {
    while (!this.stopped) {
      try {
        const outbox = (this.outbox ??= this.opened());
        void this.lookAtDisks();
        const after = (await this.beginning(outbox))?.position ?? 'start';
        if (this.stopped) return;
        this.subscription = this.store.subscribeAll({ after, streamPrefixes: [RUN_STREAM_PREFIX] });
        for await (const item of this.subscription) {
          if (this.stopped) break;
          if (item.kind === 'event') await this.enqueue(outbox, item.event);
          if (!this.isReadingWell) this.log.info('events are read again for the webhooks');
          this.isReadingWell = true;
        }
      } catch (error) {
        if (this.isReadingWell && !this.stopped)
          this.log.error({ err: error }, 'events could not be read for the webhooks; trying again until it works');
        this.isReadingWell = false;
      }
      await this.subscription?.close().catch(() => undefined);
      await this.pause(this.times.lookMs);
    }
  }

  private opened(): Outbox {
    const names = this.settings.webhooks.map(({ name }) => name);
    return Outbox.open(join(this.config.dataFolder, OUTBOX_FILE), names);
  }

  /** Returns the place from which events are read. A file without a cursor, or with the cursor of another store, begins with new events. */
  private async beginning(outbox: Outbox): Promise<Cursor | null> {
    const known = outbox.cursor;
    if (known !== undefined && (known === null || (await this.isThere(known)))) return known;
    const newest = await this.newest();
    outbox.moveTo(newest);
    return newest;
  }

  private async isThere(cursor: Cursor): Promise<boolean> {
    return (await missingIn(this.store, { ...cursor, position: cursor.position.commit })) === null;
  }

  private async newest(): Promise<Cursor | null> {
    try {
      for await (const event of this.store.readAll({ direction: 'backwards', maxCount: 1, streamPrefixes: [RUN_STREAM_PREFIX] }))
        return cursorAt(event);
    } catch (error) {
      if (!(error instanceof EventCorruptError)) throw error;
      const { position, stream, revision } = error;
      return { position, stream, revision, id: null };
    }
    return null;
  }

  private async enqueue(outbox: Outbox, stored: StoredEvent): Promise<void> {
    this.readSinceCursor += 1;
    if (NOTIFIED_TYPES.has(stored.type)) {
      outbox.addRead(this.forEach(await this.notifications(stored)), cursorAt(stored), Date.now());
      this.wake();
    } else if (this.readSinceCursor % EVENTS_PER_CURSOR === 0) outbox.moveTo(cursorAt(stored));
  }

  private async notifications(stored: StoredEvent): Promise<Notification[]> {
    try {
      return notificationsOf(decodeStored(stored), stored.id, runIdOf(stored), await this.runAt(stored));
    } catch (error) {
      if (error instanceof EventStoreError) throw error;
      this.log.error({ err: error, stream: stored.stream }, 'an event could not be read for the webhooks, and is passed over');
      return [];
    }
  }

  /** The run as it was right after the event, or null where its record is damaged. */
  private async runAt({ stream, revision }: StoredEvent): Promise<PruningRunState | null> {
    let run: PruningRunState | null = null;
    try {
      for await (const event of this.store.read(stream, { maxCount: Number(revision) + 1 }))
        run = pruningRun.evolve(run, pruningRun.decode(event));
    } catch (error) {
      if (error instanceof EventStoreError && !(error instanceof EventCorruptError)) throw error;
      return null;
    }
    return run;
  }

  private forEach(notifications: readonly Notification[]): [webhook: string, Notification][] {
    return this.settings.webhooks.flatMap(({ name, events }) =>
      notifications.filter(({ event }) => events.has(event)).map((one): [string, Notification] => [name, one]),
    );
  }

  /** Looks at the disks. Never throws. */
  lookAtDisks(): Promise<void> {
    this.disksLooked = this.disksLooked.then(() => this.lookOnce());
    return this.disksLooked;
  }

  private async lookOnce(): Promise<void> {
    try {
      for (const [folder, path] of await disksOf(this.config)) {
        const freeBytes = await this.room(path);
        const { outbox, settings } = this;
        if (outbox === null) return;
        const { diskFreeBytes } = settings;
        if (freeBytes >= diskFreeBytes * ROOMY_SHARE) outbox.setRoomy(folder);
        if (freeBytes >= diskFreeBytes || outbox.isLow(folder)) continue;
        const figures = { folder, free_bytes: freeBytes, limit_bytes: diskFreeBytes };
        const told: Notification = { id: randomUUID(), time: new Date().toISOString(), event: 'disk_nearly_full', run: null, figures };
        outbox.setLow(folder, this.forEach([told]), Date.now());
        this.wake();
      }
      this.areDisksKnown = true;
    } catch (error) {
      if (this.areDisksKnown && !this.stopped) this.log.warn({ err: error }, 'the room on the disks could not be read for the webhooks');
      this.areDisksKnown = false;
    }
  }

  private async deliverAll(webhook: Webhook): Promise<void> {
    while (!this.stopped) {
      let restMs = this.times.lookMs;
      try {
        const due = this.nextFor(webhook);
        const untilMs = due === null ? Infinity : due.nextAtMs - Date.now();
        // A clock that was set back must not hold a notification for longer than any retry.
        if (due !== null && (untilMs <= 0 || untilMs > 2 * LONGEST_RETRY_MS)) {
          await this.attempt(webhook, due);
          continue;
        }
        restMs = Math.min(untilMs, restMs);
      } catch (error) {
        this.setCondition(webhook, 'failing', `the file ${OUTBOX_FILE} of the data folder: ${(error as Error).message}`);
      }
      await this.pause(restMs);
    }
  }

  /** The next notification to send. A standby keeps notifications about runs until it takes over. */
  private nextFor({ name }: Webhook): Waiting | null {
    const { outbox } = this;
    if (outbox === null) return null;
    const expired = outbox.expire(name, Date.now() - WORTH_SENDING_MS);
    if (expired > 0 && this.lease.held) {
      this.tallies.webhookDeliveries.inc({ webhook: name, outcome: 'given_up' }, expired);
      this.setCondition({ name }, 'giving up', 'notifications could not be delivered for a day, and are not tried again');
    }
    return outbox.next(name, this.lease.held);
  }

  private async attempt(webhook: Webhook, { id, body, failures }: Waiting): Promise<void> {
    const { name } = webhook;
    const key = `${name} ${id}`;
    if (!this.taken.has(key)) {
      const problem = await deliver(webhook, body, { nowMs: Date.now(), attemptMs: this.times.attemptMs, signal: this.stopping.signal });
      if (problem !== null && this.stopped) return;
      this.tallies.webhookDeliveries.inc({ webhook: name, outcome: problem === null ? 'delivered' : 'failed' });
      if (problem !== null) {
        this.setCondition(webhook, 'failing', problem);
        this.outbox?.retryAt(name, id, Date.now() + retryMs(this.times.firstRetryMs, failures));
        return;
      }
      this.taken.add(key);
    }
    this.outbox?.remove(name, id);
    this.taken.delete(key);
    this.setCondition(webhook, 'well', '');
  }

  /** Logs only changes of the condition. */
  private setCondition({ name }: Pick<Webhook, 'name'>, now: Condition, problem: string): void {
    const before = this.conditions.get(name) ?? 'well';
    if (now === before || (now === 'failing' && before === 'giving up')) return;
    this.conditions.set(name, now);
    if (now === 'well') this.log.info({ webhook: name }, 'the webhook is delivered again');
    else if (now === 'failing') this.log.warn({ webhook: name, problem }, 'the webhook is not delivered; it is tried again for a day');
    else this.log.error({ webhook: name, problem }, 'the webhook was not delivered within a day');
  }

  private wake(): void {
    for (const wake of [...this.wakers]) wake();
  }

  private async pause(ms: number): Promise<void> {
    if (this.stopped) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.wakers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, ms).unref();
      this.wakers.add(wake);
    });
  }
}

function cursorAt({ position, stream, revision, id }: StoredEvent): Cursor {
  return { position, stream, revision, id };
}

/**
 * The time until the next retry. It doubles with each failure, and is spread at random, so that a receiver that was away is not called by
 * all servers at once.
 */
function retryMs(firstMs: number, failures: number): number {
  return Math.min(firstMs * 2 ** Math.min(failures, LONGEST_DOUBLINGS), LONGEST_RETRY_MS) * (0.5 + Math.random() / 2);
}

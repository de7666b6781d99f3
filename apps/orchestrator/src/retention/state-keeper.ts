// Decides which artifacts stay in the artifact store. An artifact is removed when a recorded event says that it is no longer needed, unless
// this process is about to record an event that names it, since equal states of different runs are one artifact. An artifact that no event
// names may be one whose event is missing, so it is not removed at once: when it is old it is moved to the quarantine, and a week later it
// is removed. Only the driver of the runs removes files, because the folder may be shared and no other process knows which events are about
// to be recorded.
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import { MEDIA_TYPE_SAFETENSORS, type ArtifactEntry, type ArtifactStore } from '#artifact-store';
import { neededArtifacts } from '../pruning-run/aggregate/pruning-run.js';
import { DriverLease } from '../storage/driver-lease.js';
import { StoreCondition } from '../storage/store-condition.js';
import { RunViews } from '../views/run-views.js';
import { ARTIFACT_STORE, LOGGER, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { RunFeed } from '../feed/run-feed.js';
import type { OrchestratorConfig } from '../config.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const LOOK_EVERY_MS = HOUR_MS;
/** An event may be about to name a younger artifact. */
const LEFT_OVER_AFTER_MS = DAY_MS;
export const QUARANTINE_MS = 7 * DAY_MS;
/** An incoming file that has not grown for this time belongs to an attempt that has ended. */
const INCOMING_AFTER_MS = HOUR_MS;

@Injectable()
export class StateKeeper {
  private readonly pins = new Map<string, number>();
  /** The artifacts that would have been removed if they had not been pinned. */
  private readonly leaving = new Set<string>();
  private readonly movements = new Map<string, Promise<unknown>>();
  private readonly startedAtMs = Date.now();
  private timer: NodeJS.Timeout | undefined;
  private sweeping: Promise<void> | null = null;

  constructor(
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(RunFeed) private readonly feed: RunFeed,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(StoreCondition) private readonly condition: Pick<StoreCondition, 'missing'>,
    @Inject(ORCHESTRATOR_CONFIG)
    private readonly config: Pick<OrchestratorConfig, 'sharesArtifacts'> & Partial<Pick<OrchestratorConfig, 'bucket'>>,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  /** Removes artifacts that are dropped from now on, and looks for left-overs now and then. */
  start(): void {
    this.feed.onDropped((digests) => {
      for (const digest of digests) void this.discard(digest);
    });
    this.timer = setInterval(() => void this.sweep(), LOOK_EVERY_MS);
    this.timer.unref();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /**
   * Puts the store in order: needed artifacts come back from the quarantine, left-overs are set aside, and artifacts that were set aside
   * long ago are removed. Never throws.
   */
  sweep(): Promise<void> {
    this.sweeping ??= this.putInOrder().finally(() => {
      this.sweeping = null;
    });
    return this.sweeping;
  }

  /** Keeps the artifact until `release`. Call it before you store or use the bytes. */
  async pin(digest: string): Promise<void> {
    this.pins.set(digest, (this.pins.get(digest) ?? 0) + 1);
    await this.movements.get(digest);
  }

  /** Ends a pin. An artifact that no event names stays for now, because it is not always known whether an append took effect. */
  release(digest: string): void {
    const left = (this.pins.get(digest) ?? 0) - 1;
    if (left > 0) {
      this.pins.set(digest, left);
      return;
    }
    this.pins.delete(digest);
    if (this.leaving.delete(digest)) void this.discard(digest);
  }

  /** Ends a pin once the feed knows the event that names the artifact. */
  releaseAfter(digest: string, runId: string, revision: number): void {
    void this.feed.seen(runId, revision).then(() => this.release(digest));
  }

  /** Tells whether the artifact is pinned or needed by a recorded event. */
  isKept(digest: string): boolean {
    return this.pins.has(digest) || this.feed.isNeeded(digest);
  }

  /** Removes an artifact that a recorded event gives up, unless it is kept. Returns whether this call removed the bytes. */
  discard(digest: string): Promise<boolean> {
    if (this.pins.has(digest)) this.leaving.add(digest);
    return this.move(digest, 'is deleted, as a recorded event says', () => this.artifacts.delete(digest), 'debug');
  }

  /** Moves an artifact to the quarantine. Returns false if it is kept or not there. */
  setAside(digest: string, why = 'no event needs it'): Promise<boolean> {
    return this.move(digest, `is moved to the quarantine: ${why}`, () => this.artifacts.quarantine.moveIn(digest));
  }

  /** Removes for good an artifact that no event needs, on demand or after its time in the quarantine. */
  remove(digest: string, why: string): Promise<boolean> {
    return this.move(digest, `is removed: ${why}`, async () => {
      const wasAside = await this.artifacts.quarantine.remove(digest);
      return (await this.artifacts.delete(digest)) || wasAside;
    });
  }

  /**
   * Gives back the artifacts that unfinished runs need, so that these runs can go on at once. The sweep gives back those of all runs, but
   * waits until the whole history was read. Never throws.
   */
  async recallForUnfinished(): Promise<void> {
    if (this.artifacts.reach?.problem != null) return;
    const needed = this.feed.unfinished().map(neededArtifacts);
    try {
      await this.recall((digest) => needed.some((artifacts) => artifacts.has(digest)));
    } catch (error) {
      this.log.warn({ err: error }, 'the quarantine could not be searched for artifacts that unfinished runs need');
    }
  }

  /** Gives back artifacts from the quarantine that an event needs. By default, all recorded events must be known before. */
  async recall(isNeeded = (digest: string): boolean => this.feed.isNeeded(digest)): Promise<void> {
    for await (const { digest } of this.artifacts.quarantine.list())
      if (isNeeded(digest) && (await this.artifacts.quarantine.giveBack(digest)))
        this.log.warn({ digest }, 'an artifact comes back from the quarantine: an event needs it');
  }

  /** Files that were left behind on their way into the store and surely belong to attempts that have ended. */
  async *leftIncoming(olderThanMs = INCOMING_AFTER_MS): AsyncGenerator<{ name: string; bytes: number }> {
    for await (const { name, bytes, changedAt, isInUse } of this.artifacts.incoming.list()) {
      // Since this process got the lock of a private folder, no other process has written into it.
      const isOfFormerLife = !this.sharesIncoming && changedAt.getTime() < this.startedAtMs;
      if (!isInUse && (isOfFormerLife || Date.now() - changedAt.getTime() >= olderThanMs)) yield { name, bytes };
    }
  }

  async removeIncoming(name: string, bytes: number): Promise<boolean> {
    if (this.sharesIncoming && !this.lease.isSurelyHeld) return false;
    const isGone = await this.artifacts.incoming.remove(name);
    if (isGone) this.log.info({ name, bytes }, 'a file of an attempt that has ended is removed: it never became an artifact');
    return isGone;
  }

  /** With a bucket, incoming files lie in the data folder, which is not shared. */
  private get sharesIncoming(): boolean {
    return this.config.sharesArtifacts && this.config.bucket === undefined;
  }

  private get mayThrowAway(): boolean {
    return this.lease.isSurelyHeld && this.condition.missing === null;
  }

  /** Makes one movement of an artifact at a time; a pin waits for it. Never throws, since the next sweep tries again. */
  private async move(digest: string, what: string, work: () => Promise<boolean>, level: 'info' | 'debug' = 'info'): Promise<boolean> {
    try {
      if (!this.mayThrowAway || this.isKept(digest)) return false;
      const underWay = this.movements.get(digest);
      if (underWay !== undefined) {
        await underWay;
        return false;
      }
      const movement = work();
      this.movements.set(
        digest,
        movement.catch(() => undefined),
      );
      const isDone = await movement.finally(() => this.movements.delete(digest));
      if (isDone) this.log[level]({ digest }, `an artifact ${what}`);
      return isDone;
    } catch (error) {
      this.log.warn({ err: error, digest }, 'an artifact that is no longer needed could not be moved or deleted');
      return false;
    }
  }

  private async putInOrder(): Promise<void> {
    if (this.artifacts.reach?.problem != null) return; // the next sweep tries again
    try {
      for await (const { name, bytes } of this.leftIncoming()) await this.removeIncoming(name, bytes);
      await this.feed.settle();
      await this.views.ready(); // the views know which artifacts were given up
      if (this.feed.hasDamage()) return; // the lost events may name any artifact
      await this.recall();
      if (!this.mayThrowAway) return;
      for await (const { digest, storedAt } of this.artifacts.quarantine.list())
        if (Date.now() - storedAt.getTime() >= QUARANTINE_MS)
          await this.remove(digest, 'it was set aside a week ago, and no event needs it');
      for await (const entry of this.artifacts.list()) await this.lookAt(entry);
    } catch (error) {
      this.log.warn({ err: error }, 'the search for left-over artifacts failed');
    }
  }

  /** Sets a left-over aside. Tokens stay, since they may be about to be used; only `gc` moves them. */
  private async lookAt({ digest, storedAt }: ArtifactEntry): Promise<void> {
    if (this.isKept(digest)) return;
    const discard = this.views.discardOf(digest);
    if (discard !== null) await this.setAside(digest, `revision ${discard.revision} of run ${discard.runId} says that it goes`);
    else if (
      Date.now() - storedAt.getTime() >= LEFT_OVER_AFTER_MS &&
      (await this.artifacts.stat(digest))?.mediaType === MEDIA_TYPE_SAFETENSORS
    )
      await this.setAside(digest);
  }
}

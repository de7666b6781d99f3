// Which artifacts stay in the artifact store. One that no recorded event needs any more is thrown away, unless somebody is about
// to record an event that names it: equal states of different runs are one artifact. Only who drives the runs throws
// away: the folder may be shared, and nobody else knows what is about to be recorded.
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import { MEDIA_TYPE_SAFETENSORS, type ArtifactStore } from '#artifact-store';
import { DriverLease } from '../storage/driver-lease.js';
import { RunViews } from '../views/run-views.js';
import { ARTIFACT_STORE, LOGGER } from '../tokens.js';
import { RunFeed } from '../views/run-feed.js';

@Injectable()
export class StateKeeper {
  private readonly pins = new Map<string, number>();
  private readonly deletions = new Map<string, Promise<unknown>>();

  constructor(
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(RunFeed) private readonly feed: RunFeed,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  /** Throws away what is dropped from now on. */
  start(): void {
    this.feed.onDropped((digests) => {
      for (const digest of digests) void this.discard(digest);
    });
  }

  /**
   * Throws away what a crash left behind: states without an event, and what events say was thrown away. Before that, everything
   * recorded must be known.
   */
  async clearLeftOvers(): Promise<void> {
    try {
      await this.feed.settle();
      await this.views.ready(); // they know what was thrown away
      for await (const { digest } of this.artifacts.list()) {
        if (this.isKept(digest)) continue;
        const stat = await this.artifacts.stat(digest);
        if (stat?.mediaType === MEDIA_TYPE_SAFETENSORS || this.views.discardOf(digest) !== null) await this.discard(digest);
      }
    } catch (error) {
      this.log.warn({ err: error }, 'left-over states could not be looked for');
    }
  }

  /** Keeps the artifact until `release`; call it before the bytes are put or relied upon. */
  async pin(digest: string): Promise<void> {
    this.pins.set(digest, (this.pins.get(digest) ?? 0) + 1);
    await this.deletions.get(digest);
  }

  release(digest: string): void {
    const left = (this.pins.get(digest) ?? 0) - 1;
    if (left > 0) this.pins.set(digest, left);
    else this.pins.delete(digest);
    void this.discard(digest);
  }

  /** Released once the feed knows the event that names the artifact. */
  releaseAfter(digest: string, runId: string, revision: number): void {
    void this.feed.seen(runId, revision).then(() => this.release(digest));
  }

  /** Somebody is about to name it, or a recorded event needs it. */
  isKept(digest: string): boolean {
    return this.pins.has(digest) || this.feed.isNeeded(digest);
  }

  /** Unless it is kept. Returns when the bytes are gone. */
  async discard(digest: string): Promise<void> {
    try {
      if (!this.lease.held || this.isKept(digest)) return;
      const underWay = this.deletions.get(digest);
      if (underWay !== undefined) {
        await underWay;
        return;
      }
      const deletion = this.artifacts.delete(digest);
      this.deletions.set(
        digest,
        deletion.catch(() => undefined),
      );
      await deletion.finally(() => this.deletions.delete(digest));
    } catch (error) {
      // It stays until the next start looks for what was left over.
      this.log.warn({ err: error, digest }, 'an artifact that is no longer needed could not be deleted');
    }
  }
}

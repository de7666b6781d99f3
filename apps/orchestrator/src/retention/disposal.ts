// Frees disk space: runs are deleted or thinned, and artifacts that no event needs are removed. The fact is recorded first, then the bytes
// are removed. After a crash between the two, the next start sets the bytes aside (StateKeeper.sweep). Only the driver of the runs removes
// anything.
import { Inject, Injectable } from '@nestjs/common';
import { MEDIA_TYPE_EXPORT_MANIFEST, MEDIA_TYPE_SAFETENSORS, type ArtifactStore } from '#artifact-store';
import { EspalierError } from '#protocol';
import { artifactsOf, requireThinning, type Thinning } from '../pruning-run/aggregate/discarding.js';
import { decide, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { CallContext } from '../event-sourcing/call-context.js';
import type { DiscardedArtifact, NewFact } from '../pruning-run/record/pruning-run.events.js';
import type { Delete, Discard } from '../pruning-run/aggregate/discarding.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { RunFeed } from '../feed/run-feed.js';
import { StoreCondition } from '../storage/store-condition.js';
import { StateKeeper } from './state-keeper.js';
import { RunViews } from '../views/run-views.js';
import { ARTIFACT_STORE } from '../provider-names.js';

/** Younger artifacts stay: they may be tokens or an export that a run is about to name. */
const MIN_AGE_SECONDS = 3_600;

export interface Disposed {
  run: PruningRunState;
  artifacts: { kind: string; digest: string; bytes: number; marks: number[] }[];
  freedBytes: number;
}

export interface Garbage {
  doneShare: number;
  /** An artifact that is removed, or would be in a dry run; null in a message that only tells the progress. */
  artifact: { kind: string; digest: string; bytes: number; isSetAside: boolean } | null;
}

export interface GarbageWish {
  dryRun: boolean;
  minAgeSeconds?: number | undefined;
  /** Whether to remove for good at once, the content of the quarantine included. */
  now: boolean;
}

@Injectable()
export class Disposal {
  constructor(
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(RunFeed) private readonly feed: RunFeed,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(StateKeeper) private readonly keeper: StateKeeper,
    @Inject(StoreCondition) private readonly condition: StoreCondition,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
  ) {}

  async deleteRun(runId: string, reason: string, by: CallContext): Promise<Disposed> {
    const run = await this.knownRun(runId);
    return this.dispose(run, { kind: 'delete', reason, neededElsewhere: this.neededElsewhere(run) }, by);
  }

  async discardArtifacts(runId: string, thinning: Thinning, reason: string, dryRun: boolean, by: CallContext): Promise<Disposed> {
    requireThinning(thinning);
    const run = await this.knownRun(runId);
    const change: Discard = { kind: 'discard', thinning, reason, neededElsewhere: this.neededElsewhere(run) };
    if (!dryRun) return this.dispose(run, change, by);
    const artifacts = await this.withSizes(artifactsIn(decide(run, change, new Date().toISOString())));
    return { run, artifacts, freedBytes: artifacts.reduce((sum, { bytes }) => sum + bytes, 0) };
  }

  async *collectGarbage({ dryRun, minAgeSeconds = MIN_AGE_SECONDS, now }: GarbageWish, signal?: AbortSignal): AsyncGenerator<Garbage> {
    await this.knowAll();
    if (!dryRun) await this.keeper.recall();
    const youngest = Date.now() - minAgeSeconds * 1_000;
    const artifacts = await all(this.artifacts.list());
    const aside = now ? await all(this.artifacts.quarantine.list()) : [];
    const known = artifacts.filter(({ storedAt }) => storedAt.getTime() <= youngest);
    const total = artifacts.length + aside.length;
    let done = total - known.length - aside.length;
    for (const { digest, bytes } of [...known, ...aside]) {
      signal?.throwIfAborted();
      const doneShare = (done += 1) / total;
      if (this.keeper.isKept(digest)) {
        yield { doneShare, artifact: null };
        continue;
      }
      const kind = await this.kindOf(digest);
      const goes = dryRun || (now ? await this.keeper.remove(digest, 'gc --now asks for it') : await this.keeper.setAside(digest));
      yield { doneShare, artifact: goes ? { kind, digest, bytes, isSetAside: !now } : null };
    }
    for await (const { name, bytes } of this.keeper.leftIncoming(minAgeSeconds * 1_000)) {
      const goes = dryRun || (await this.keeper.removeIncoming(name, bytes));
      if (goes) yield { doneShare: 1, artifact: { kind: 'incoming', digest: name, bytes, isSetAside: false } };
    }
  }

  private async kindOf(digest: string): Promise<string> {
    const discard = this.views.discardOf(digest);
    if (discard !== null) return discard.kind;
    const mediaType = (await this.artifacts.stat(digest))?.mediaType;
    return mediaType === MEDIA_TYPE_SAFETENSORS ? 'state' : mediaType === MEDIA_TYPE_EXPORT_MANIFEST ? 'export' : 'other';
  }

  private async knownRun(runId: string): Promise<PruningRunState> {
    await this.knowAll();
    return this.runs.load(runId);
  }

  /** Waits until all recorded needs are known. @throws EVENTS_MISSING; RUN_DAMAGED, since the lost events may name any artifact */
  private async knowAll(): Promise<void> {
    this.condition.requireWhole();
    await this.feed.settle();
    if (!this.feed.hasDamage()) return;
    throw new EspalierError(
      'RUN_DAMAGED',
      'nothing is thrown away while the record of a run is damaged, since its lost events may name it: see `runs --status damaged`',
    );
  }

  private neededElsewhere(run: PruningRunState): Set<string> {
    return new Set(
      artifactsOf(run)
        .map(({ digest }) => digest)
        .filter((digest) => this.feed.isNeeded(digest, run.runId)),
    );
  }

  private async dispose(before: PruningRunState, change: Discard | Delete, by: CallContext): Promise<Disposed> {
    const { runId } = before;
    const sizes = new Map((await this.withSizes(artifactsOf(before))).map(({ digest, bytes }) => [digest, bytes]));
    const { run, facts } = await this.runs.change(runId, change, { by });
    await this.feed.seen(runId, run.revision); // from here on the run no longer needs them
    const artifacts = artifactsIn(facts).map((one) => ({ ...one, bytes: sizes.get(one.digest) ?? 0 }));
    let freedBytes = 0;
    for (const { digest, bytes } of artifacts) {
      await this.keeper.discard(digest); // the feed may have removed it already
      if ((await this.artifacts.stat(digest)) === null) freedBytes += bytes;
    }
    return { run, artifacts, freedBytes };
  }

  /** The artifacts with their sizes in the store. */
  private async withSizes(artifacts: DiscardedArtifact[]): Promise<Disposed['artifacts']> {
    const sized: Disposed['artifacts'] = [];
    for (const { kind, digest, marks } of artifacts) {
      sized.push({ kind, digest, marks, bytes: (await this.artifacts.stat(digest))?.bytes ?? 0 });
    }
    return sized;
  }
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

function artifactsIn(facts: NewFact[]): DiscardedArtifact[] {
  return facts.flatMap((fact) => (fact.type === 'RunDeleted' || fact.type === 'ArtifactsDiscarded' ? fact.data.artifacts : []));
}

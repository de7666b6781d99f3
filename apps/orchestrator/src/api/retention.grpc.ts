// Answers the calls that free disk space and that tell how much is in use, by disposal and views. It contains no rules.
import { Inject, Injectable } from '@nestjs/common';
import type { ArtifactStore } from '#artifact-store';
import { invalidField, serverStreaming, unary, type CallInfo, type v1 } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { DriverLease } from '../storage/driver-lease.js';
import { SpaceReserve } from '../storage/space-reserve.js';
import { StorageWatch } from '../storage/storage-watch.js';
import { runNotFound } from '../pruning-run/aggregate/pruning-run.errors.js';
import { Disposal, type Disposed, type Garbage } from '../retention/disposal.js';
import { diskUsage } from '../retention/disk-usage.js';
import { RunViews } from '../views/run-views.js';
import { ARTIFACT_STORE, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { Callers } from './admission/callers.js';

const RUN_ID = /^[a-z2-7]{12}$/;

@Injectable()
export class RetentionGrpc {
  constructor(
    @Inject(Disposal) private readonly disposal: Disposal,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(StorageWatch) private readonly storage: StorageWatch,
    @Inject(SpaceReserve) private readonly reserve: SpaceReserve,
    @Inject(Callers) private readonly callers: Callers,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: OrchestratorConfig,
  ) {}

  runHandlers(): Pick<v1.RunServiceServer, 'deleteRun'> {
    return { deleteRun: unary((request: v1.DeleteRunRequest, _signal, call) => this.reserve.spend(() => this.delete(request, call))) };
  }

  artifactHandlers(): Pick<v1.ArtifactServiceServer, 'discardArtifacts' | 'collectGarbage' | 'getDiskUsage'> {
    return {
      discardArtifacts: unary((request: v1.DiscardArtifactsRequest, _signal, call) =>
        this.reserve.spend(() => this.discard(request, call)),
      ),
      collectGarbage: serverStreaming((request: v1.CollectGarbageRequest, signal) => this.collect(request, signal)),
      getDiskUsage: unary((_request: v1.GetDiskUsageRequest) => diskUsage(this.views, this.artifacts, this.config)),
    };
  }

  /** These calls need no free disk space, since they make some. */
  private requireDriver(): void {
    this.storage.requireFolder();
    this.lease.requireHeld();
  }

  /** Deletes a run. The call can't be undone, so it needs the whole id. */
  private async delete({ runId, reason }: v1.DeleteRunRequest, call: CallInfo): Promise<v1.DeleteRunResponse> {
    this.requireDriver();
    if (!RUN_ID.test(runId)) throw invalidField('FIELD_OUT_OF_RANGE', 'run_id', 'the whole id is needed: neither a name nor its beginning');
    if ((await this.views.wholeRunId(runId)) !== runId) throw runNotFound(runId); // the text is the name of another run
    const { run, artifacts, freedBytes } = await this.disposal.deleteRun(runId, reason, this.callers.contextOf(call));
    return { run: await this.message(run), discardedArtifacts: BigInt(artifacts.length), freedBytes: BigInt(freedBytes) };
  }

  private async discard(request: v1.DiscardArtifactsRequest, call: CallInfo): Promise<v1.DiscardArtifactsResponse> {
    this.requireDriver();
    const { keepEvery, abandoned, exports, reason, dryRun } = request;
    const runId = await this.views.wholeRunId(request.runId);
    const thinning = { keepEvery: keepEvery ?? null, abandoned, exports };
    const { run, artifacts, freedBytes } = await this.disposal.discardArtifacts(
      runId,
      thinning,
      reason,
      dryRun,
      this.callers.contextOf(call),
    );
    return {
      run: await this.message(run),
      artifacts: artifacts.map((one) => ({ ...one, bytes: BigInt(one.bytes) })),
      freedBytes: BigInt(freedBytes),
    };
  }

  private async *collect(
    { dryRun, minAgeSeconds, now }: v1.CollectGarbageRequest,
    signal: AbortSignal,
  ): AsyncGenerator<v1.CollectGarbageResponse> {
    await this.reserve.giveUpWhereFull();
    this.requireDriver();
    let artifacts = 0n;
    let freedBytes = 0n;
    let setAsideBytes = 0n;
    let said = -1;
    for await (const { doneShare, artifact } of this.disposal.collectGarbage({ dryRun, minAgeSeconds, now }, signal)) {
      if (artifact === null && doneShare < 1 && doneShare - said < 0.01) continue;
      said = doneShare;
      if (artifact !== null) {
        artifacts += 1n;
        if (artifact.isSetAside) setAsideBytes += BigInt(artifact.bytes);
        else freedBytes += BigInt(artifact.bytes);
      }
      const message = artifact === null ? undefined : messageOf(artifact);
      yield { doneShare, artifact: message, artifacts, freedBytes, setAsideBytes };
    }
    if (said < 1) yield { doneShare: 1, artifact: undefined, artifacts, freedBytes, setAsideBytes };
  }

  private message({ runId, revision }: Disposed['run']): Promise<v1.Run> {
    return this.views.getRun(runId, { atRevision: revision });
  }
}

function messageOf({ kind, digest, bytes }: NonNullable<Garbage['artifact']>): v1.DiscardedArtifact {
  return { kind, digest, bytes: BigInt(bytes), marks: [] };
}

// Answers HistoryService by the queries. It contains no rules.
import { Inject, Injectable } from '@nestjs/common';
import { missingText } from '#event-store';
import { ROLES, serverStreaming, unary, v1, type CallInfo } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { s3Address, type ArtifactStore } from '#artifact-store';
import { availableBytes } from '../storage/free-space.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { CurveBins } from '../queries/curves/curve-bins.js';
import { MeanCurves } from '../queries/curves/mean-curves.js';
import { queryCurves } from '../queries/curves/query-curves.js';
import { readHistory, watchHistory } from '../queries/history.js';
import { exportMetrics } from '../queries/metrics-export.js';
import { queryMasks } from '../queries/masks/query-masks.js';
import { queryMetrics } from '../queries/curves/query-metrics.js';
import type { StoreCondition } from '../storage/store-condition.js';
import type { RunViews } from '../views/run-views.js';
import { ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { exportAudit } from '../verification/audit-export.js';
import { Verification } from '../verification/verification.js';
import { verifyAll } from '../verification/verify-all.js';
import { verifyRun } from '../verification/verify-run.js';
import { requireAtLeast } from './admission/access.js';
import { Callers } from './admission/callers.js';
import { hasOutsidePath, hidesPaths } from './admission/hidden-paths.js';

@Injectable()
export class HistoryGrpc {
  private readonly bins = new CurveBins();
  private readonly means = new MeanCurves();

  constructor(
    @Inject(Verification) private readonly context: Verification,
    @Inject(Callers) private readonly callers: Callers,
    @Inject(ORCHESTRATOR_CONFIG)
    private readonly config: Pick<OrchestratorConfig, 'artifactFolder' | 'bucket' | 'viewersReadTexts' | 'dataRoots'>,
  ) {}

  handlers(): v1.HistoryServiceServer {
    const { context } = this;
    const { views, store, artifacts, condition } = context;
    return {
      readHistory: unary((request: v1.ReadHistoryRequest) => readHistory(views, store, request)),
      watchHistory: serverStreaming((request: v1.WatchHistoryRequest, signal) => watchHistory(views, store, request, signal)),
      queryMetrics: unary((request: v1.QueryMetricsRequest) => queryMetrics(views, request)),
      queryCurves: unary((request: v1.QueryCurvesRequest, signal) => queryCurves(views, this.bins, request, signal)),
      queryMeanCurves: unary((request: v1.QueryMeanCurvesRequest, signal) => this.means.query(views, request, signal)),
      queryMasks: unary((request: v1.QueryMasksRequest, signal) => queryMasks(views, request, signal)),
      exportMetrics: serverStreaming((request: v1.ExportMetricsRequest) => metricsFile(views, request)),
      verifyRun: serverStreaming((request: v1.VerifyRunRequest, signal, call) =>
        verifyRun(context, request, this.callers.contextOf(call), signal),
      ),
      verifyAll: serverStreaming((_request: v1.VerifyAllRequest, signal) => verifyAll(context, signal)),
      exportAudit: serverStreaming((request: v1.ExportAuditRequest, signal, call) => {
        if (request.includeSnapshots && !this.config.viewersReadTexts)
          requireAtLeast(ROLES.operator, this.callers.grantOf(call), 'a bundle with states is');
        return exportAudit(context, request, signal, (run) => this.requireShownPaths(run, call));
      }),
      getStoreCondition: unary((_request: v1.GetStoreConditionRequest) => conditionMessage(condition, artifacts, this.config)),
      rebuildViews: serverStreaming((_request: v1.RebuildViewsRequest, signal) => views.rebuild(signal)),
    };
  }

  /** A bundle holds the events as they are, with all paths in them. @throws EspalierError ROLE_TOO_LOW */
  private requireShownPaths({ model, data }: PruningRunState, call: CallInfo): void {
    const grant = this.callers.grantOf(call);
    if (!hidesPaths(grant, this.config) || !hasOutsidePath({ path: model.path, data }, this.config.dataRoots)) return;
    requireAtLeast(ROLES.operator, grant, 'the bundle of a run whose model or texts lie outside the data roots is');
  }
}

async function conditionMessage(
  { storeName, missing }: StoreCondition,
  { reach }: ArtifactStore,
  { artifactFolder, bucket }: Pick<OrchestratorConfig, 'artifactFolder' | 'bucket'>,
): Promise<v1.GetStoreConditionResponse> {
  const missingEvents = missing && {
    seenPosition: missing.seen.position,
    endPosition: missing.endPosition,
    message: missingText(missing),
  };
  const problem = reach?.problem ?? null;
  return v1.GetStoreConditionResponse.fromPartial({
    storeId: storeName,
    availableBytes: await availableBytes(artifactFolder),
    artifacts: bucket === undefined ? artifactFolder : s3Address(bucket),
    ...(missingEvents && { missingEvents }),
    ...(problem !== null && { artifactTrouble: { code: problem.code, message: problem.message } }),
  });
}

async function* metricsFile(views: RunViews, { runId, format }: v1.ExportMetricsRequest): AsyncGenerator<v1.ExportMetricsResponse> {
  const { run, extras } = await views.summary(runId);
  const launchedAt = new Date(run.launchedAt);
  for await (const chunk of exportMetrics(views.database, run.runId, extras.rewinds, format === '' ? 'csv' : format, launchedAt))
    yield { chunk: Buffer.from(chunk) };
}

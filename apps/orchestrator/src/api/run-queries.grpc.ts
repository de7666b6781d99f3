// Answers the queries of RunService by the views. It contains no rules.
import { Inject, Injectable } from '@nestjs/common';
import { serverStreaming, unary, v1 } from '#protocol';
import { compareRuns } from '../queries/compare-runs.js';
import { lineageOf } from '../queries/lineage.js';
import { RunViews } from '../views/run-views.js';
import { watchRun } from '../queries/watch-run.js';

type RunQueries = Pick<v1.RunServiceServer, 'getRun' | 'listRuns' | 'groupRuns' | 'watchRun' | 'getLineage' | 'compareRuns'>;

@Injectable()
export class RunQueriesGrpc {
  constructor(@Inject(RunViews) private readonly views: RunViews) {}

  handlers(): RunQueries {
    const { views } = this;
    return {
      getRun: unary(async ({ runId }: v1.GetRunRequest): Promise<v1.GetRunResponse> => ({ run: await views.getRun(runId) })),
      listRuns: unary((request: v1.ListRunsRequest) => views.listRuns(request)),
      groupRuns: unary((request: v1.GroupRunsRequest) => views.groupRuns(request)),
      watchRun: serverStreaming((request: v1.WatchRunRequest, signal) => watchRun(views, request, signal)),
      getLineage: unary(async ({ runId }: v1.GetLineageRequest) => lineageOf(views, await views.runId(runId))),
      compareRuns: unary((request: v1.CompareRunsRequest) => compareRuns(views, request)),
    };
  }
}

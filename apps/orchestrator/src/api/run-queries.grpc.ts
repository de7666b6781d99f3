// Answers the queries of RunService by the views. It contains no rules.
import { Inject, Injectable } from '@nestjs/common';
import { serverStreaming, unary, v1 } from '#protocol';
import { compareRuns } from '../queries/compare-runs.js';
import { lineageOf } from '../queries/lineage.js';
import { ModelRepository } from '../models/model-repository.js';
import type { ModelSpeedFact } from '../models/model.events.js';
import { listFigures, requireFew } from '../views/list-figures.js';
import type { RunSummary } from '../views/projection/run-detail.js';
import { RunsAt } from '../queries/run-at.js';
import { dateOf, factMessage } from '../views/run-message.js';
import { RunViews } from '../views/run-views.js';
import { watchRun } from '../queries/watch-run.js';

type RunQueries = Pick<
  v1.RunServiceServer,
  'getRun' | 'listRuns' | 'groupRuns' | 'listFigures' | 'watchRun' | 'getLineage' | 'compareRuns'
>;

@Injectable()
export class RunQueriesGrpc {
  constructor(
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(ModelRepository) private readonly models: ModelRepository,
    @Inject(RunsAt) private readonly runsAt: RunsAt,
  ) {}

  handlers(): RunQueries {
    const { views } = this;
    return {
      getRun: unary(({ runId }: v1.GetRunRequest) => this.getRun(runId)),
      listRuns: unary((request: v1.ListRunsRequest) => views.listRuns(request)),
      groupRuns: unary((request: v1.GroupRunsRequest) => views.groupRuns(request)),
      listFigures: unary((request: v1.ListFiguresRequest) =>
        request.at.length > 0 ? this.figuresAt(request) : views.listFigures(request),
      ),
      watchRun: serverStreaming((request: v1.WatchRunRequest, signal) => watchRun(views, request, signal)),
      getLineage: unary(async ({ runId }: v1.GetLineageRequest) => lineageOf(views, await views.runId(runId))),
      compareRuns: unary((request: v1.CompareRunsRequest) => compareRuns(views, request)),
    };
  }

  private async figuresAt({ figures, at }: v1.ListFiguresRequest): Promise<v1.ListFiguresResponse> {
    requireFew(at, 'at');
    const summaries: RunSummary[] = [];
    for (const [index, { runId, revision }] of at.entries()) summaries.push(await this.runsAt.of(runId, revision, `at[${index}]`));
    return listFigures(figures, [], summaries);
  }

  /** The run, with what was recorded of its model without a run. */
  private async getRun(runId: string): Promise<v1.GetRunResponse> {
    const run = await this.views.getRun(runId);
    if (run.weightsDigest === '') return { run };
    const model = await this.models.find(run.weightsDigest).catch(() => null); // the run is shown while the store is away, too
    const modelEvaluations = (model?.evaluations ?? []).map(factMessage);
    return { run: { ...run, modelEvaluations, modelSpeeds: (model?.speeds ?? []).map(modelSpeedMessage) } };
  }
}

const modelSpeedMessage = ({ at, ...speed }: ModelSpeedFact & { at: string }): v1.MeasuredModelSpeed => ({
  ...speed,
  measuredAt: dateOf(at),
});

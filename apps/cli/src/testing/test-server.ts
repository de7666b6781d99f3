// A server of the public protocol, for tests of the command line. Each test gives the answers of the calls that it needs.
import { createHash } from 'node:crypto';
import { Server, ServerCredentials, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { ownVersion } from '#files';
import { EspalierError, releaseOf, serverStreaming, sendingRelease, unary, v1 } from '#protocol';

type Unary<Q, R> = (request: Q) => Promise<R> | R;
type Streaming<Q, R> = (request: Q, signal: AbortSignal) => AsyncIterable<R>;

export interface Answers {
  planRun?: Unary<v1.PlanRunRequest, v1.PlanRunResponse>;
  measurePlan?: Streaming<v1.MeasurePlanRequest, v1.MeasurePlanResponse>;
  launchRun?: Unary<v1.LaunchRunRequest, v1.LaunchRunResponse>;
  forkRun?: Unary<v1.ForkRunRequest, v1.ForkRunResponse>;
  resumeRun?: Unary<v1.ResumeRunRequest, v1.ResumeRunResponse>;
  pauseRun?: Unary<v1.PauseRunRequest, v1.PauseRunResponse>;
  describeRun?: Unary<v1.DescribeRunRequest, v1.DescribeRunResponse>;
  cancelRun?: Unary<v1.CancelRunRequest, v1.CancelRunResponse>;
  getRun?: Unary<v1.GetRunRequest, v1.GetRunResponse>;
  listRuns?: Unary<v1.ListRunsRequest, v1.ListRunsResponse>;
  groupRuns?: Unary<v1.GroupRunsRequest, v1.GroupRunsResponse>;
  getLineage?: Unary<v1.GetLineageRequest, v1.GetLineageResponse>;
  compareRuns?: Unary<v1.CompareRunsRequest, v1.CompareRunsResponse>;
  watchRun?: Streaming<v1.WatchRunRequest, v1.WatchRunResponse>;
  evaluateRun?: Streaming<v1.EvaluateRunRequest, v1.EvaluateRunResponse>;
  benchRun?: Streaming<v1.BenchRunRequest, v1.BenchRunResponse>;
  evaluateTasks?: Streaming<v1.EvaluateTasksRequest, v1.EvaluateTasksResponse>;
  generate?: Streaming<v1.GenerateRequest, v1.GenerateResponse>;
  exportRun?: Streaming<v1.ExportRunRequest, v1.ExportRunResponse>;
  readHistory?: Unary<v1.ReadHistoryRequest, v1.ReadHistoryResponse>;
  watchHistory?: Streaming<v1.WatchHistoryRequest, v1.WatchHistoryResponse>;
  queryMetrics?: Unary<v1.QueryMetricsRequest, v1.QueryMetricsResponse>;
  queryMasks?: Unary<v1.QueryMasksRequest, v1.QueryMasksResponse>;
  queryFrontier?: Unary<v1.QueryFrontierRequest, v1.QueryFrontierResponse>;
  exportMetrics?: Streaming<v1.ExportMetricsRequest, v1.ExportMetricsResponse>;
  verifyRun?: Streaming<v1.VerifyRunRequest, v1.VerifyRunResponse>;
  verifyAll?: Streaming<v1.VerifyAllRequest, v1.VerifyAllResponse>;
  exportAudit?: Streaming<v1.ExportAuditRequest, v1.ExportAuditResponse>;
  rebuildViews?: Streaming<v1.RebuildViewsRequest, v1.RebuildViewsResponse>;
  deleteRun?: Unary<v1.DeleteRunRequest, v1.DeleteRunResponse>;
  discardArtifacts?: Unary<v1.DiscardArtifactsRequest, v1.DiscardArtifactsResponse>;
  collectGarbage?: Streaming<v1.CollectGarbageRequest, v1.CollectGarbageResponse>;
  getDiskUsage?: Unary<v1.GetDiskUsageRequest, v1.GetDiskUsageResponse>;
  listEngines?: Unary<v1.ListEnginesRequest, v1.ListEnginesResponse>;
  measureSpeedTable?: Unary<v1.MeasureSpeedTableRequest, v1.MeasureSpeedTableResponse>;
  launchStudy?: Unary<v1.LaunchStudyRequest, v1.LaunchStudyResponse>;
  listStudies?: Unary<v1.ListStudiesRequest, v1.ListStudiesResponse>;
  getStudy?: Unary<v1.GetStudyRequest, v1.GetStudyResponse>;
  cancelStudy?: Unary<v1.CancelStudyRequest, v1.CancelStudyResponse>;
  createToken?: Unary<v1.CreateTokenRequest, v1.CreateTokenResponse>;
  listTokens?: Unary<v1.ListTokensRequest, v1.ListTokensResponse>;
  revokeToken?: Unary<v1.RevokeTokenRequest, v1.RevokeTokenResponse>;
  listTeachers?: Unary<v1.ListTeachersRequest, v1.ListTeachersResponse>;
  statArtifact?: Unary<v1.StatArtifactRequest, v1.StatArtifactResponse>;
  downloadArtifact?: Streaming<v1.DownloadArtifactRequest, v1.DownloadArtifactResponse>;
}

const STREAMING = new Set([
  'watchRun',
  'evaluateRun',
  'benchRun',
  'measurePlan',
  'evaluateTasks',
  'exportRun',
  'generate',
  'exportMetrics',
  'verifyRun',
  'rebuildViews',
  'downloadArtifact',
  'watchHistory',
  'exportAudit',
  'verifyAll',
  'collectGarbage',
]);

export class TestServer {
  private constructor(
    private readonly server: Server,
    readonly address: string,
  ) {}

  /** @param release the release that the server tells */
  static async start(
    answers: Answers,
    address = '127.0.0.1:0',
    secret = ServerCredentials.createInsecure(),
    release = releaseOf(ownVersion()),
  ): Promise<TestServer> {
    const server = new Server({ interceptors: [sendingRelease(release)] });
    for (const service of [
      v1.RunServiceService,
      v1.HistoryServiceService,
      v1.ArtifactServiceService,
      v1.EngineServiceService,
      v1.StudyServiceService,
      v1.AccessServiceService,
    ]) {
      server.addService(service, implementation(Object.keys(service), answers as Record<string, unknown>));
    }
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(address, secret, (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    return new TestServer(server, `127.0.0.1:${port}`);
  }

  /** Stops at once, as when the process is killed. */
  stop(): void {
    this.server.forceShutdown();
  }
}

function implementation(methods: string[], answers: Record<string, unknown>): UntypedServiceImplementation {
  const handlers: UntypedServiceImplementation = {};
  for (const method of methods) {
    const answer = answers[method];
    if (answer === undefined) continue; // grpc-js answers UNIMPLEMENTED itself
    handlers[method] = STREAMING.has(method)
      ? serverStreaming(answer as Streaming<unknown, unknown>)
      : unary(async (request: unknown) => (answer as Unary<unknown, unknown>)(request));
  }
  return handlers;
}

export function refusal(code: string, message: string, field?: string): EspalierError {
  return new EspalierError(code, message, field === undefined ? {} : { violations: [{ field, description: message, code }] });
}

export function testRun(part: Partial<v1.Run> = {}): v1.Run {
  const settings = v1.RunSettings.fromPartial({
    preset: 'short',
    recipe: v1.Recipe.RECIPE_NUTEPRUNE,
    targetSparsity: 0.5,
    totalSteps: 100,
    warmupSteps: 30,
    seed: 42n,
    batchSize: 8,
    sequenceLength: 128,
    loraRank: 8,
    loraTargets: ['q_proj'],
    budgetDtype: 'model',
    gates: ['head', 'unit', 'hidden'],
  });
  return {
    ...v1.Run.fromPartial({
      runId: 'abcdefghij23',
      name: 'a name',
      status: v1.RunStatus.RUN_STATUS_TRAINING,
      modelPath: '/models/llama',
      step: 40n,
      scheduledSparsity: 0.5,
      expectedSparsity: 0.412,
      hardSparsity: 0.409,
      teacherCount: 41,
      teacher: { teacher: { $case: 'mark', value: 31 } },
      targetReachedStep: -1n,
      layers: [{ headsOpen: 2, heads: 6, unitsOpen: 100, units: 512 }],
      hiddenOpen: 190,
      hiddenSize: 192,
      parameterCount: 3_400_000n,
      tokensPerSecond: 7000,
      etaSeconds: 60,
      attempt: 1,
      revision: 9n,
      stateDigest: 'ab'.repeat(32),
    }),
    settings,
    launchedAt: new Date('2026-01-02T03:04:05Z'),
    ...part,
  };
}

export function testSteps(from: number, to: number): v1.StepMetrics[] {
  return Array.from({ length: to - from }, (_, index) =>
    v1.StepMetrics.fromPartial({
      step: BigInt(from + index),
      loss: 1.25,
      layerLoss: 1.1,
      klLoss: 0.15,
      scheduledSparsity: 0.5,
      expectedSparsity: 0.4,
      teacher: { teacher: { $case: 'intact', value: true } },
    }),
  );
}

/** The answers for an export of a model with two files. */
export function testExport(): {
  digest: string;
  answers: Required<Pick<Answers, 'exportRun' | 'statArtifact' | 'downloadArtifact'>>;
  contents: Map<string, Buffer>;
} {
  const contents = new Map([
    ['config.json', Buffer.from('{"a":1}')],
    ['model.safetensors', Buffer.alloc(3_000_000, 5)],
  ]);
  const digestOf = (content: Buffer) => createHash('sha256').update(content).digest('hex');
  const files = [...contents].map(([name, content]) => ({ name, bytes: BigInt(content.length), digest: digestOf(content) }));
  const digest = 'cd'.repeat(32);
  return {
    digest,
    contents,
    answers: {
      async *exportRun() {
        yield v1.ExportRunResponse.fromPartial({ doneShare: 0.5 });
        yield v1.ExportRunResponse.fromPartial({
          doneShare: 1,
          export: { digest, form: 'compacted', dtype: 'bf16', parameterCount: 1_700_000n, bytes: 3_000_007n, step: 100n },
        });
      },
      statArtifact: () => v1.StatArtifactResponse.fromPartial({ bytes: 100n, files }),
      async *downloadArtifact({ digest: wanted, offset: from }) {
        const content =
          [...contents.values()].find((one) => digestOf(one) === wanted) ??
          [...contents.values()][files.findIndex((file) => file.digest === wanted)];
        if (content === undefined) throw refusal('ARTIFACT_NOT_FOUND', `no artifact ${wanted}`);
        for (let offset = Number(from); offset < content.length; offset += 1 << 20) {
          yield v1.DownloadArtifactResponse.fromPartial({
            totalBytes: BigInt(content.length),
            chunk: content.subarray(offset, offset + (1 << 20)),
          });
        }
      },
    },
  };
}
